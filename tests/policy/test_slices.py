"""A slice holds all that a policy read, and knows what it does not hold."""

from __future__ import annotations

import functools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy import slices
from gateway.policy.bundle import Bundle
from gateway.policy.files import Files
from gateway.policy.input import encode
from gateway.policy.interpreter import Interpreter
from gateway.policy.replay import decide_again
from gateway.policy.samples import sample
from gateway.policy.verdict import read


@pytest.mark.parametrize(
    ("reads", "wanted", "missing"),
    [
        (["subject.id"], ["subject.id"], []),
        (["subject.id"], ["subject"], ["subject"]),
        (["subject"], ["subject.id"], []),
        (["subject.claims.role"], ["subject.claims.role"], []),
        (["subject.claims.role"], ["subject.claims.other"], ["subject.claims.other"]),
        (["subject.claims.role"], ["subject.claims"], ["subject.claims"]),
        (["subject.claims"], ["subject.claims.other"], []),
        (["subject.claims.gone"], ["subject.claims.gone.deeper"], []),
        (["subject.claims.role.deep"], ["subject.claims.role"], []),
        (["subject.claims.role.deep"], ["subject.claims.role.other"], []),
        (["subject.claims.gone.deeper"], ["subject.claims.gone"], []),
        (["model.name"], [""], ["the whole input"]),
        (["tensors.inputs"], ["tensors"], ["tensors"]),
        (["tensors"], ["tensors.batch"], []),
    ],
)
def test_what_a_slice_holds(reads: list[str], wanted: list[str], missing: list[str]) -> None:
    document = sample()
    document["subject"]["claims"] = {"role": {"deep": 1}, "other": 2}  # type: ignore[index]  # a section is a dict
    paths = lambda names: frozenset(tuple(n.split(".")) if n else () for n in names)  # noqa: E731  # used twice
    kept = msgspec.json.decode(slices.cut(document, paths(reads)).kept)
    assert list(slices.lacks(kept, paths(wanted))) == missing
    assert slices.cutter(paths(reads))(document) == slices.cut(document, paths(reads))
    full = msgspec.json.decode(encode(document))
    assert list(slices.lacks(full, paths(wanted))) == []


def test_keys_with_dots_are_told_apart() -> None:
    document = sample()
    document["subject"]["claims"] = {"a": {"b": 1}}  # type: ignore[index]  # a section is a dict
    dotted, nested = frozenset({("subject", "claims", "a.b")}), frozenset({("subject", "claims", "a", "b")})
    empty = frozenset({("subject", "claims", "")})
    kept = msgspec.json.decode(slices.cut(document, dotted).kept)
    assert kept["absent"] == ["subject.claims.a.b"]
    assert list(slices.lacks(kept, dotted)) == []
    assert list(slices.lacks(kept, nested)) == ["subject.claims.a"]
    assert list(slices.lacks(kept, empty)) == ["subject.claims."]
    kept = msgspec.json.decode(slices.cut(document, empty).kept)
    assert list(slices.lacks(kept, frozenset({("subject", "claims")}))) == ["subject.claims"]


def test_a_policy_that_reads_nothing_has_all_that_it_needs() -> None:
    kept, shown = slices.cut(sample(), frozenset())
    assert kept == shown == b"{}"
    assert list(slices.lacks({}, frozenset())) == []
    assert list(slices.lacks({}, None)) == ["the whole input"]


def test_what_is_shown_to_a_policy_has_no_marks() -> None:
    kept, shown = slices.cut(sample(), frozenset({("subject", "claims", "role"), ("model", "name")}))
    assert set(msgspec.json.decode(kept)) == {"absent", "model", "partial"}
    assert set(msgspec.json.decode(shown)) == {"model"}


CLAIMS = st.sampled_from(
    [
        {},
        {"role": "r"},
        {"role": {"deep": "r"}},
        {"role": {"other": "r"}},
        {"role": {"deep": 1, "other": "r"}},
        {"x": "r"},
    ]
)
CLAIM_PATHS = ["claims", "claims.role", "claims.role.deep", "claims.role.other", "claims.x", "groups", "tenant"]


@settings(max_examples=150, deadline=None)
@given(CLAIMS, st.sampled_from(CLAIM_PATHS), st.sampled_from(CLAIM_PATHS))
def test_a_slice_that_lacks_nothing_decides_as_the_whole_document(claims: object, old: str, new: str) -> None:
    """Whatever the revision read that was in force, and whatever the candidate reads."""
    document = sample()
    document["subject"]["claims"] = claims  # type: ignore[index]  # a section is a dict
    before, candidate = reading(old), reading(new)
    kept = slices.cut(document, before.reads).kept
    engine = Interpreter(candidate.modules, candidate.data)
    again = decide_again(engine, candidate.reads, kept)
    whole = read(engine.evaluate(encode(document).decode()))
    assert again == whole or (isinstance(again, str) and "which the record lacks" in again)
    if old == new:
        assert again == whole


@functools.cache
def reading(path: str) -> Bundle:
    """A policy that allows where there is something at a path of the subject, unless it is "r"."""
    source = f"""package gateway.authz

default decision := {{"v": 1, "allow": false, "reasons": [], "obligations": []}}

decision := {{"v": 1, "allow": allow, "reasons": [], "obligations": []}}

default allow := false

allow if input.subject.{path} != "r"
"""
    return Bundle.linted(Files(modules={"a.rego": source}))
