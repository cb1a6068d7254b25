"""A weakened rule is noticed, or named."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.policy.bundle import Bundle
from gateway.policy.files import Files
from gateway.policy.interpreter import Interpreter
from gateway.policy.mutate import accepted_labels
from gateway.policy.mutate_rules import mutants, survivors

SOURCE = """package gateway.authz

default decision := {"v": 1, "allow": false, "reasons": [], "obligations": []}

decision := {"v": 1, "allow": allow, "reasons": [], "obligations": []}

default allow := false

allow if "size" in proven

proven contains "size" if {
	is_number(input.tensors.batch)
	input.tensors.batch >= 1
	input.tensors.batch <= 8
}
"""
TEST = """package authz_test

allowed(n) if data.gateway.authz.allow with input as {"tensors": {"batch": n}}

test_bounds if {
	allowed(1)
	allowed(8)
	not allowed(9)
}
"""


def bundle(test: str = TEST, accepted: str = "") -> Bundle:
    return Bundle.linted(Files(modules={"p.rego": SOURCE}, tests={"p_test.rego": test}, accepted=accepted))


def test_every_single_change_is_made_once() -> None:
    made = list(mutants(Interpreter({"p.rego": SOURCE}, "{}").ast()))
    assert sorted((m.line, m.text) for m in made) == [
        (11, 'without proven contains "size" if {'),
        (12, "without is_number(input.tensors.batch)"),
        (13, "< instead of >= in input.tensors.batch >= 1"),
        (13, "without input.tensors.batch >= 1"),
        (14, "> instead of <= in input.tensors.batch <= 8"),
        (14, "without input.tensors.batch <= 8"),
    ]
    assert all(mutant.source.count("\n") == SOURCE.count("\n") for mutant in made)


def test_what_no_test_notices_is_named() -> None:
    count, left = survivors(bundle())
    assert count == 6
    assert [str(mutant) for mutant in left] == [
        "p.rego:12:2: untested-rule: no test fails after: without is_number(input.tensors.batch)",
        "p.rego:13:2: untested-rule: no test fails after: without input.tensors.batch >= 1",
    ]


def test_a_better_test_and_an_accepted_label_end_it() -> None:
    better = TEST.replace("\tallowed(1)\n", "\tallowed(1)\n\tnot allowed(0)\n")
    accepted = "p.rego: without is_number(input.tensors.batch)  # the lower bound holds for numbers alone\n"
    assert survivors(bundle(better, accepted)) == (6, ())


def test_without_tests_every_rule_is_unproved() -> None:
    assert len(survivors(dataclasses.replace(bundle(), tests={}))[1]) == 6


def test_the_shipped_rules_are_proved(shipped: Bundle) -> None:
    count, left = survivors(shipped)
    assert count > 50
    assert left == ()


def test_an_accepted_label_needs_a_reason() -> None:
    assert accepted_labels("# a remark\n\na=b  # because\n") == {"a=b"}
    with pytest.raises(ValueError, match=r"mutate\.allow:1:1: 'a=b' needs a reason"):
        accepted_labels("a=b\n")
