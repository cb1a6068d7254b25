"""What would hang or kill the gateway hangs or kills a child, and is named."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gateway.policy.bundle import Bundle
from gateway.policy.canaries import Canary
from gateway.policy.files import Files
from gateway.policy.findings import PolicyInvalid
from gateway.policy.interpreter import Interpreter
from gateway.policy.samples import sample
from gateway.policy.trial import Task, judge, overlooked, trial

HEAD = 'package gateway.authz\n\ndefault decision := {"v": 1, "allow": false, "reasons": [], "obligations": []}\n\n'


def task(body: str) -> Task:
    return Task(modules={"p.rego": HEAD + body}, data="{}", max_decision_ms=50)


def codes(body: str, deadline_s: float = 20) -> list[str]:
    return [finding.code for finding in trial(task(body), deadline_s=deadline_s).findings]


def test_a_good_policy_passes() -> None:
    assert codes("p if input.model.name == 1") == []


def test_a_slow_rule_is_refused() -> None:
    slow = "decision := count([1 | some i in numbers.range(1, 900); some j in numbers.range(1, 900); i == j])"
    assert set(codes(slow)) == {"too-slow"}


def test_parsing_without_end_is_refused() -> None:
    begun = time.monotonic()
    assert codes("x := " + "[" * 40 + "]" * 40, deadline_s=2) == ["too-slow"]
    assert time.monotonic() - begun < 10


def test_recursion_is_found_before_it_can_kill() -> None:
    assert codes("f(x) := f(x)\n\ndecision := f(1)") == ["recursion"]


def test_a_death_of_the_engine_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path) + os.pathsep + os.environ.get("PYTHONPATH", ""))
    (finding,) = trial(task("")).findings
    assert finding.code == "compile"
    assert "the engine died" in finding.text


@pytest.mark.parametrize(
    ("body", "code", "line", "col"),
    [
        ("p if {\n\tx := \n}", "parse", 6, 7 - 3),
        ("p { input.x }", "v0-syntax", 5, 3),
        ("p if {\n\tx == y\n}", "compile", 6, 2),
        ("p if q\n\nq if p", "compile", 5, 1),
    ],
)
def test_the_engines_own_findings_have_a_place(body: str, code: str, line: int, col: int) -> None:
    found = judge(task(body)).findings
    assert (found[0].code, found[0].line, found[0].col) == (code, line, col)


def test_a_read_that_the_analysis_overlooked_is_found_before_it_decides() -> None:
    """None is known; this says one thing to the analysis and another to the engine."""
    rules = 'default p := false\n\np if input.model.name == "some-model"\n\n'
    body = rules + 'decision := {"v": 1, "allow": p, "reasons": [], "obligations": []}'
    engine = Interpreter({"p.rego": HEAD + body}, "{}")
    name = sample()["model"]["name"]  # type: ignore[index]  # a section is a dict
    assert name == "some-model"
    assert list(overlooked(engine, frozenset({("model", "name")}), "p.rego", ())) == []
    found = list(overlooked(engine, frozenset({("subject", "id")}), "p.rego", (CANARY,)))
    assert {finding.code for finding in found} == {"overlooked-read"}
    assert any("a sample of inference is decided otherwise" in finding.text for finding in found)
    assert any("canary mine" in finding.text for finding in found)


@pytest.mark.parametrize("path", ["subject.claims.role", "model.labels.role", "request.metadata.role"])
def test_an_overlooked_read_of_an_open_map_is_found_without_a_canary(path: str) -> None:
    body = f'default p := false\n\np if input.{path} == "r"\n\n'
    decision = 'decision := {"v": 1, "allow": p, "reasons": [], "obligations": []}'
    engine = Interpreter({"p.rego": HEAD + body + decision}, "{}")
    assert list(overlooked(engine, frozenset({tuple(path.split("."))}), "p.rego", ())) == []
    assert [f.code for f in overlooked(engine, frozenset({("subject", "id")}), "p.rego", ())] == ["overlooked-read"]


CANARY = Canary(name="mine", action="inference:infer", allow=True)


def test_a_broken_test_file_is_named() -> None:
    with pytest.raises(PolicyInvalid) as invalid:
        Bundle.checked(Files(modules={"p.rego": HEAD}, tests={"p_test.rego": "package x\n\ntest_a if {"}))
    assert invalid.value.findings[0].file == "p_test.rego"


@pytest.mark.slow
def test_ten_megabytes_of_data_load() -> None:
    data = {"rows": {f"key-{n}": {"roles": ["caller"], "note": "x" * 60} for n in range(100_000)}}
    bundle = Bundle.checked(Files(modules={"p.rego": HEAD + "p if data.rows[input.subject.id]"}, data=data))
    assert len(bundle.data) > 9_500_000
