"""The adversarial reads: what an obvious walk over the syntax tree misses."""

from __future__ import annotations

import pytest

from gateway.policy.interpreter import Ast, Interpreter
from gateway.policy.reads import reads_of

HEAD = "package gateway.authz\n\n"


def reads(body: str) -> set[str] | None:
    found = reads_of(Interpreter({"a.rego": HEAD + body}, "{}").ast())
    return None if found is None else {".".join(path) for path in found}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("p if input.a.b == 1", {"a.b"}),
        ('p if input.a["b"] == 1', {"a.b"}),
        ("p if input[`a`].b == 1", {"a.b"}),
        ("p if input.a[0].b == 1", {"a"}),
        ("p if input.a[input.b].c == 1", {"a", "b"}),
        ("p if data.x[input.y[input.z.q]] == 1", {"y", "z.q"}),
        ("p if data.x[data.y[input.z]].w == 1", {"z"}),
        ("p if f(input.a).b == input.c\nf(x) := x", {"a", "c"}),
        ("p if {input.a: input.b}[input.c] == 1", {"a", "b", "c"}),
        ("p if input.a\np if input.a.b", {"a"}),
        ("p if input == 1", {""}),
        ('p if object.get(input, ["a"], 1) == 1', {""}),
        ("p if { some k; input[k] == 1 }", {""}),
        ("p if { x := input; x.a == 1 }", {""}),
        ("p if not input.z", {"z"}),
        ("p if true else := 2 if input.e == 1", {"e"}),
        ("p contains input.h if true", {"h"}),
        ("p[input.k] := input.v if true", {"k", "v"}),
        ("p if every x in input.l { x == input.m }", {"l", "m"}),
        ("p := [x | some x in input.l; x > input.n]", {"l", "n"}),
        ("p := {k: v | some k, v in input.l}", {"l"}),
        ("default f(x) := 1\nf(x) := input.q if x == 2", {"q"}),
        ("p if -input.a == 1", {"a"}),
        ("p if q with input.a as input.b\nq := 1", {"a", "b"}),
    ],
)
def test_reads(body: str, expected: set[str]) -> None:
    assert reads(body) == expected


def test_imports_of_input_are_followed() -> None:
    assert reads("import input.subject as who\n\np if who.id == 1") == {"subject"}
    assert reads("import input\n\np if input.id == 1") is None


def test_an_unknown_node_or_tree_gives_no_reads_rather_than_fewer() -> None:
    ast = Interpreter({"a.rego": HEAD + "p if input.a == 1"}, "{}").ast()
    assert reads_of(Ast([{**ast[0], "version": 2}])) is None
    spoiled = Interpreter({"a.rego": HEAD + "p if input.a == 1"}, "{}").ast()
    tree = spoiled[0]["ast"]
    assert isinstance(tree, dict)
    statement = tree["rules"][0]["Spec"]["bodies"][0]["query"]["stmts"][0]
    statement["literal"] = {"Template": {"span": {}, "parts": []}}
    assert reads_of(spoiled) is None
