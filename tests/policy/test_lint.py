"""One good and one bad module for each code, with the exact place."""

from __future__ import annotations

import pytest

from gateway.policy.bundle import Bundle
from gateway.policy.files import Files
from gateway.policy.findings import PolicyInvalid

HEAD = """package gateway.authz

default decision := {"v": 1, "allow": false, "reasons": [], "obligations": []}


"""  # a body begins on line 6


def findings(body: str, data: dict[str, object] | None = None, head: str = HEAD) -> list[tuple[str, int, int]]:
    try:
        bundle = Bundle.linted(Files(modules={"p.rego": head + body}, data=data or {}))
    except PolicyInvalid as invalid:
        return [(f.code, f.line, f.col) for f in invalid.findings]
    return [(f.code, f.line, f.col) for f in bundle.warnings]


@pytest.mark.parametrize(
    ("good", "bad", "code", "line", "col"),
    [
        ("p if input.request.time.hour_utc == 1", "p if time.now_ns() == 1", "banned-builtin", 6, 6),
        ("p if count([1]) == 1", 'p if\tio.jwt.decode("x")', "banned-builtin", 6, 6),
        ("p if f(1)\n\nf(x) := x", "p if g(1)", "unknown-function", 6, 6),
        ("p if data.gateway.authz.f(1)\n\nf(x) := x", "p if data.other.f(1)", "unknown-function", 6, 6),
        ("p if count([1]) == 1", "p if count([1], 2) == 1", "wrong-arity", 6, 6),
        ("f(x) := x", "f(x) := f(x)", "recursion", 6, 1),
        ("f(x) := g(x)\n\ng(x) := x", "f(x) := g(x)\n\ng(x) := f(x)", "recursion", 6, 1),
        ('q contains 1\n\np if not "a" in q', "p if not f(input.model.name)\n\nf(x) := x", "undefined-negation", 6, 6),
        ("p if { some c in [1]; not c == 2 }", "p if not c == 2\n\nc := data.x", "undefined-negation", 6, 6),
        (
            "default q := false\n\nq if data.x\n\np if not q",
            "p if not data.t[input.model.name]",
            "undefined-negation",
            6,
            6,
        ),
        ("p if input.model.name == 1", "p if\n\tinput.modle.name == 1", "unknown-input-path", 7, 2),
        ("p if input.subject.claims.x.y == 1", "p if input.subject.clams.x == 1", "unknown-input-path", 6, 6),
        (
            "p if input.tensors.inputs[_].bytes == 1",
            "p if input.tensors.inputs[_].byte == 1",
            "unknown-input-path",
            6,
            6,
        ),
        (
            'deny contains "x" if input.model.name == 1',
            "deny contains input.model.name if true",
            "input-in-deny-head",
            6,
            15,
        ),
        ("default allow := false\n\nallow if data.x", "allow if data.x", "no-default", 6, 1),
        ("default q := 1", "default q := 1\n\ndefault q := 2", "double-default", 8, 1),
        ("p if data.x", "p if data.system.x", "system-reference", 6, 6),
        ("p if data.x", "p if data.x with input.model as 1", "with-outside-test", 6, 18),
        (
            "p if { is_number(input.tensors.batch); input.tensors.batch >= 1; input.tensors.batch <= 3 }",
            "p if input.tensors.batch <= 3",
            "unbounded-compare",
            6,
            6,
        ),
        (
            "p if {\n\tcount(input.tensors.inputs) > 0\n\tevery x in input.tensors.inputs { x.bytes == 1 }\n}",
            "p if every x in input.tensors.inputs { x.bytes == 1 }",
            "vacuous-every",
            6,
            6,
        ),
        (
            'obligations contains {"type": "limit"} if data.x\n\nproven contains "limit" if "limit" in data.y',
            'obligations contains {"type": "limit"} if data.x',
            "unproven-obligation",
            6,
            31,
        ),
        ("p if input.request.time.date == 1", "p if input.request.id == 1", "uncacheable", 1, 1),
        ("p if input.model == 1", "p if input == 1", "wide-read", 1, 1),
    ],
)
def test_each_code(good: str, bad: str, code: str, line: int, col: int) -> None:
    assert code not in [found for found, _, _ in findings(good)]
    assert (code, line, col) in findings(bad)


def test_a_bare_negated_input_only_warns() -> None:
    bundle = Bundle.linted(Files(modules={"p.rego": HEAD + "p if not input.model.known"}))
    assert [(f.code, f.severity) for f in bundle.warnings] == [("undefined-negation", "warning")]


def test_an_import_of_input() -> None:
    head = HEAD.replace("authz\n", "authz\n\nimport input.model\n", 1)
    assert ("input-import", 3, 8) in findings("p if data.x", head=head)


def test_data_that_shadows_rules() -> None:
    assert findings("p if data.x", data={"gateway": {}}) == [("data-shadows-rule", 1, 1)]
    assert findings("p if data.x", data={"system": {}}) == [("data-shadows-rule", 1, 1)]
    assert findings("p if data.x", data={"tenants": {}}) == []


def test_a_bundle_without_the_entrypoint() -> None:
    assert findings("p if data.x", head="package other\n\n") == [("no-default", 1, 1)]


def test_the_entrypoint_needs_a_default() -> None:
    assert ("no-default", 3, 1) in findings("", head="package gateway.authz\n\ndecision := {} if data.x\n")


def test_the_shipped_policies_have_no_finding(shipped: Bundle) -> None:
    assert shipped.warnings == ()
