"""Every builtin of the portable profile gives the same value on both engines, on the shapes that policies use.

A builtin without a case here is not in the profile: the first test holds that.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.policy import app
from gateway.policy.builtins import ARITY, why_banned
from gateway.policy.interpreter import Interpreter, RegoError

SHIPPED = Path(__file__).parents[2] / "policies"
TIME = "1795000000123456789"
CASES: dict[str, str] = {
    "abs": "abs(-3)",
    "ceil": "ceil(1.2)",
    "floor": "floor(1.8)",
    "round": "round(2.6)",
    "count": '[count([1, 2]), count({1}), count({"a": 1})]',
    "sum": "sum([1, 2, 3])",
    "product": "product({2, 3})",
    "min": 'min(["b", "a"])',
    "max": "max({3, 9})",
    "sort": "sort([3, null, 1, true])",
    "array.concat": "array.concat([1], [2])",
    "array.reverse": "array.reverse([1, 2])",
    "array.slice": "[array.slice([1, 2, 3], 1, 9), array.slice([1, 2], -1, 1)]",
    "union": "union({{1}, {2}})",
    "intersection": "intersection({{1, 2}, {2, 3}})",
    "type_name": '[type_name(x) | some x in [null, true, 1, "a", [], {}, {1}]]',
    "is_array": "[is_array([])]",
    "is_boolean": "[is_boolean(false)]",
    "is_null": "[is_null(null)]",
    "is_number": "[is_number(1)]",
    "is_object": "[is_object({})]",
    "is_set": "[is_set({1})]",
    "is_string": '[is_string("")]',
    "to_number": '[to_number("1.5"), to_number(true), to_number(null)]',
    "concat": '[concat("/", ["a", "b"]), concat("", {"b", "a"})]',
    "contains": 'contains("abc", "b")',
    "endswith": 'endswith("abc", "bc")',
    "startswith": 'startswith("abc", "ab")',
    "lower": 'lower("ABC")',
    "upper": 'upper("abc")',
    "split": 'split("a/b/", "/")',
    "replace": 'replace("aXbX", "X", "-")',
    "trim": 'trim("--a-", "-")',
    "trim_left": 'trim_left("--a-", "-")',
    "trim_right": 'trim_right("--a-", "-")',
    "trim_prefix": 'trim_prefix("vision-1", "vision-")',
    "trim_suffix": 'trim_suffix("a.onnx", ".onnx")',
    "trim_space": 'trim_space(" a\\n")',
    "substring": '[substring("abcd", 1, 2), substring("abcd", 1, -1)]',
    "indexof": '[indexof("abc", "c"), indexof("abc", "x")]',
    "indexof_n": 'indexof_n("abab", "b")',
    "format_int": "format_int(255, 16)",
    "sprintf": 'sprintf("%s has %d of %v (%x)", ["a", 3, [1, "b"], 255])',
    "strings.any_prefix_match": 'strings.any_prefix_match(["abc"], {"ab", "x"})',
    "strings.any_suffix_match": 'strings.any_suffix_match("abc", ["bc"])',
    "strings.count": 'strings.count("aaa", "a")',
    "strings.replace_n": 'strings.replace_n({"a": "1"}, "aba")',
    "strings.reverse": 'strings.reverse("abc")',
    "regex.match": '[regex.match("^a+$", "aa"), regex.match("^a+$", "ab")]',
    "regex.is_valid": '[regex.is_valid("a("), regex.is_valid("a")]',
    "regex.find_n": 'regex.find_n("a.", "abac", -1)',
    "regex.find_all_string_submatch_n": 'regex.find_all_string_submatch_n("a(.)", "abac", -1)',
    "regex.replace": 'regex.replace("abab", "b", "-")',
    "regex.split": 'regex.split("[/:]", "a/b:c")',
    "regex.template_match": 'regex.template_match("urn:{.*}", "urn:x", "{", "}")',
    "glob.match": '[glob.match(p, ["/"], n) | some p in ["v-*", "*", "**"]; some n in ["v-a", "a/b"]]',
    "glob.quote_meta": 'glob.quote_meta("a*b")',
    "semver.compare": 'semver.compare("1.2.0", "1.10.0")',
    "semver.is_valid": '[semver.is_valid("1.2"), semver.is_valid("1.2.3")]',
    "units.parse": 'units.parse("10K")',
    "units.parse_bytes": 'units.parse_bytes("10MiB")',
    "object.get": '[object.get({"a": 1}, "b", 2), object.get({"a": {"b": 3}}, ["a", "b"], 0)]',
    "object.keys": 'object.keys({"a": 1})',
    "object.filter": 'object.filter({"a": 1, "b": 2}, {"a"})',
    "object.remove": 'object.remove({"a": 1, "b": 2}, ["a"])',
    "object.union": 'object.union({"a": {"x": 1}}, {"a": {"y": 2}})',
    "object.union_n": 'object.union_n([{"a": 1}, {"a": 2}])',
    "object.subset": 'object.subset({"a": 1, "b": 2}, {"a": 1})',
    "json.patch": 'json.patch({"a": 1}, [{"op": "add", "path": "/b", "value": 2}])',
    "json.filter": 'json.filter({"a": {"b": 1, "c": 2}}, ["a/b"])',
    "json.remove": 'json.remove({"a": {"b": 1, "c": 2}}, ["a/b"])',
    "json.marshal": 'json.marshal([1, "a", null])',
    "json.unmarshal": 'json.unmarshal("[1, {}]")',
    "json.is_valid": '[json.is_valid("{"), json.is_valid("{}")]',
    "walk": '{p | walk({"a": [1]}, [p, _])}',
    "graph.reachable": 'graph.reachable({"a": ["b"], "b": [], "c": []}, {"a"})',
    "graph.reachable_paths": 'graph.reachable_paths({"a": ["b"], "b": []}, {"a"})',
    "numbers.range": "numbers.range(1, 4)",
    "numbers.range_step": "numbers.range_step(1, 7, 3)",
    "bits.and": "bits.and(6, 3)",
    "bits.or": "bits.or(6, 3)",
    "bits.xor": "bits.xor(6, 3)",
    "bits.negate": "bits.negate(6)",
    "bits.lsh": "bits.lsh(1, 4)",
    "bits.rsh": "bits.rsh(16, 2)",
    "net.cidr_contains": '[net.cidr_contains("10.0.0.0/8", ip) | some ip in ["10.1.2.3", "11.0.0.1", "::1"]]',
    "net.cidr_is_valid": '[net.cidr_is_valid(c) | some c in ["10.0.0.0/8", "10.0.0.0", "::/0", "x"]]',
    "time.clock": f"time.clock({TIME})",
    "time.date": f"time.date({TIME})",
    "time.weekday": f"time.weekday({TIME})",
    "time.add_date": f"time.add_date({TIME}, 0, 1, 1)",
    "time.diff": f"time.diff({TIME}, 0)",
    "time.format": f"time.format({TIME})",
    "time.parse_ns": 'time.parse_ns("2006-01-02", "2026-11-18")',
    "time.parse_rfc3339_ns": 'time.parse_rfc3339_ns("2026-11-18T11:06:40Z")',
    "time.parse_duration_ns": 'time.parse_duration_ns("1h30m")',
    "base64.encode": 'base64.encode("a?>")',
    "base64.decode": 'base64.decode("YT8+")',
    "base64.is_valid": 'base64.is_valid("YT8+")',
    "base64url.encode": 'base64url.encode("a?>")',
    "base64url.encode_no_pad": 'base64url.encode_no_pad("a")',
    "base64url.decode": 'base64url.decode("YT8-")',
    "hex.encode": 'hex.encode("ab")',
    "hex.decode": 'hex.decode("6162")',
    "urlquery.encode": 'urlquery.encode("a b&c")',
    "urlquery.decode": 'urlquery.decode("a%20b")',
    "urlquery.encode_object": 'urlquery.encode_object({"a": "b c"})',
    "urlquery.decode_object": 'urlquery.decode_object("a=b&a=c")',
    "yaml.marshal": 'yaml.marshal({"a": 1})',
    "yaml.unmarshal": 'yaml.unmarshal("a: [1, b]")',
    "yaml.is_valid": 'yaml.is_valid("a: 1")',
}


def test_every_builtin_of_the_profile_has_a_case() -> None:
    assert ARITY.keys() == CASES.keys()


def test_both_engines_agree_on_every_case(opa_binary: str, tmp_path: Path) -> None:
    names = sorted(CASES)
    source = "package cases\n\n" + "".join(f"r{n} := {CASES[name]}\n\n" for n, name in enumerate(names))
    (tmp_path / "cases.rego").write_text(source)
    command = [opa_binary, "eval", "--strict-builtin-errors", "-f", "json", "-d", str(tmp_path), "data.cases"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = json.loads(done.stdout)["result"][0]["expressions"][0]["value"]
    engine = Interpreter({"cases.rego": source}, "{}")
    different = {}
    for n, name in enumerate(names):
        try:
            ours = json.loads(engine.evaluate("{}", f"data.cases.r{n}"))
        except RegoError as error:
            ours = f"error: {error}"
        if ours != theirs.get(f"r{n}"):
            different[name] = (ours, theirs.get(f"r{n}"))
    assert different == {}


@pytest.mark.parametrize("name", ["http.send", "time.now_ns", "io.jwt.decode", "crypto.sha256", "net.cidr_expand"])
def test_what_is_banned_says_why(name: str) -> None:
    assert name not in ARITY
    assert why_banned(name)


def test_opa_holds_the_same_profile_by_its_capabilities(opa_binary: str, tmp_path: Path) -> None:
    current = subprocess.run([opa_binary, "capabilities", "--current"], capture_output=True, text=True, check=True)
    reduced = CliRunner().invoke(app, ["capabilities"], input=current.stdout)
    assert reduced.exit_code == 0
    (tmp_path / "portable.json").write_text(reduced.output)
    check = [opa_binary, "check", "--strict", "--capabilities", str(tmp_path / "portable.json")]
    assert subprocess.run([*check, str(SHIPPED)], capture_output=True, check=False).returncode == 0
    banned = tmp_path / "banned.rego"
    banned.write_text("package x\n\np := time.now_ns()\n")
    refused = subprocess.run([*check, str(banned)], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "undefined function time.now_ns" in refused.stderr
    assert CliRunner().invoke(app, ["capabilities"], input="{}").exit_code == 2
