"""The builtins of the portable profile: those on which both engines agree, with their number of arguments.

An allow-list: a builtin enters with a case in the conformance suite, and whatever is not in it is refused, known to
an engine or not. OPA's ``--capabilities`` file for the same profile is generated from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BY_ARITY: Mapping[int, str] = {
    1: """
        abs array.reverse base64.decode base64.encode base64.is_valid base64url.decode base64url.encode
        base64url.encode_no_pad bits.negate ceil count floor glob.quote_meta hex.decode hex.encode
        intersection is_array is_boolean is_null is_number is_object is_set is_string json.is_valid
        json.marshal json.unmarshal lower max min net.cidr_is_valid object.keys object.union_n product
        regex.is_valid round semver.is_valid sort strings.reverse sum time.clock time.date time.format
        time.parse_duration_ns time.parse_rfc3339_ns time.weekday to_number trim_space type_name union
        units.parse units.parse_bytes upper urlquery.decode urlquery.decode_object urlquery.encode
        urlquery.encode_object walk yaml.is_valid yaml.marshal yaml.unmarshal
    """,
    2: """
        array.concat bits.and bits.lsh bits.or bits.rsh bits.xor concat contains endswith format_int
        graph.reachable graph.reachable_paths indexof indexof_n json.filter json.patch json.remove
        net.cidr_contains numbers.range object.filter object.remove object.subset object.union regex.match
        regex.split semver.compare split sprintf startswith strings.any_prefix_match
        strings.any_suffix_match strings.count strings.replace_n time.diff time.parse_ns trim trim_left
        trim_prefix trim_right trim_suffix
    """,
    3: """
        array.slice glob.match numbers.range_step object.get regex.find_all_string_submatch_n regex.find_n
        regex.replace replace substring
    """,
    4: """
        regex.template_match time.add_date
    """,
}

ARITY: Mapping[str, int] = {name: arity for arity, names in _BY_ARITY.items() for name in names.split()}
"""Arguments of every portable builtin."""

TESTS_ONLY = frozenset({"print"})

WHY: Mapping[str, str] = {
    "http.send": "it asks the network, so a decision is no function of its input",
    "opa.runtime": "it reads the environment",
    "net.lookup_ip_addr": "it asks the network",
    "net.cidr_expand": "its work is unbounded",
    "rand.intn": "it is not deterministic",
    "uuid.rfc4122": "it is not deterministic",
    "time.now_ns": "use input.request.time",
    "trace": "use print in tests",
}
PREFIXES: Mapping[str, str] = {
    "io.jwt.": "the gateway verifies tokens; verified claims are in input.subject.claims",
    "crypto.": "the embedded engine has none of it",
    "graphql.": "the embedded engine fails on it",
    "rego.": "the embedded engine fails on it",
    "providers.": "the embedded engine fails on it",
    "net.": "the engines disagree on it",
    "regex.": "the engines disagree on it",
    "json.": "the engines disagree on it",
    "strings.": "the engines disagree on it",
}
"""Why a builtin that OPA has is not in the profile."""


def why_banned(name: str) -> str | None:
    """Why OPA's builtin ``name`` is outside the profile; None when it is no builtin that we know of."""
    if name in WHY:
        return WHY[name]
    return next((why for prefix, why in PREFIXES.items() if name.startswith(prefix)), None)


def portable(capabilities: Mapping[str, Any]) -> dict[str, object]:
    """OPA's capabilities document (``opa capabilities --current``) reduced to the profile, for ``opa check``.

    Operators and what OPA rewrites ``print`` and ``in`` into stay; newer keywords and templates go.
    """
    kept = [
        builtin
        for builtin in capabilities["builtins"]
        if "infix" in builtin or builtin["name"] in ARITY or builtin["name"] in _REWRITTEN
    ]
    features = [feature for feature in capabilities.get("features", ()) if feature != "template_strings"]
    return {**capabilities, "builtins": kept, "features": features, "future_keywords": []}


_REWRITTEN = frozenset({"print", "internal.print", "internal.member_2", "internal.member_3"})
