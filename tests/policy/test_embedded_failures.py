"""Whatever goes wrong inside the embedded engine is a denial, never an allow and never an escape."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec
import psutil
import pytest

from gateway.errors import Internal
from gateway.policy.bundle import Bundle
from gateway.policy.files import Files
from gateway.policy.interpreter import RegoError
from gateway.policy.pdp import Query
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.schema import Gateway
from gateway.types import Decision

MakeQuery = Callable[..., Query]
DEFAULT = 'default decision := {"v": 1, "allow": false, "reasons": [{"code": "by_default"}], "obligations": []}\n'


def bundle(body: str, default: str = DEFAULT) -> Bundle:
    return Bundle.linted(Files(modules={"p.rego": f"package gateway.authz\n\n{default}\n{body}\n"}))


def allow(**changes: str) -> str:
    parts = {"v": "1", "allow": "true", "reasons": "[]", "obligations": "[]", **changes}
    return "decision := {" + ", ".join(f'"{key}": {value}' for key, value in parts.items() if value) + "}"


def codes(point: EmbeddedPoint, query: Query) -> tuple[str, ...]:
    with pytest.raises(StopIteration) as done:
        point.decide(query).send(None)
    decision: Decision = done.value.value
    assert decision.allow is False
    assert decision.obligations == ()
    return decision.codes


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", ("by_default",)),
        (allow(allow='"true"'), ("invalid_decision",)),
        (allow(allow="1"), ("invalid_decision",)),
        (allow(allow="null"), ("invalid_decision",)),
        (allow(obligations=""), ("invalid_decision",)),
        (allow(v="2"), ("invalid_decision",)),
        (allow(surprise="1"), ("invalid_decision",)),
        (allow(obligations='[{"type": "teleport"}]'), ("unknown_obligation",)),
        (allow(obligations='[{"type": "limit", "max_btach": 1}]'), ("invalid_decision",)),
        (allow(reasons='[{"code": "really_not"}]'), ("contradictory_decision",)),
        ("decision := 7", ("invalid_decision",)),
        (allow() + "\n\ndecision := 8", ("policy_error",)),
        (allow(ttl_s='to_number("x")'), ("by_default",)),
        (f"{allow()} if net.cidr_contains(input.model.name, input.request.peer_ip)", ("policy_error",)),
    ],
)
def test_every_wrong_decision_denies(make_query: MakeQuery, body: str, expected: tuple[str, ...]) -> None:
    found = codes(EmbeddedPoint(bundle(body), gateway=Gateway()), make_query())
    if "to_number" in body:  # an error or undefined by the engine's choice; a denial either way
        assert found in (expected, ("policy_error",))
    else:
        assert found == expected


def test_a_panic_denies(make_query: MakeQuery) -> None:
    """An engine used from another thread panics with a BaseException."""
    point = EmbeddedPoint(bundle(allow()), gateway=Gateway())
    found: list[tuple[str, ...]] = []
    thread = threading.Thread(target=lambda: found.append(codes(point, make_query())))
    thread.start()
    thread.join()
    assert found == [("policy_error",)]


def test_an_input_that_breaks_the_schema_is_our_bug_and_asks_nobody(make_query: MakeQuery) -> None:
    point = EmbeddedPoint(bundle(allow()), gateway=Gateway())
    query = make_query()
    action = msgspec.structs.replace(query.context.action, group="no-such-group")
    context = msgspec.structs.replace(query.context, action=action)
    with pytest.raises(Internal):
        point.decide(msgspec.structs.replace(query, context=context)).send(None)
    with pytest.raises(Internal):
        point.decide(make_query(claims={"n": 2**70})).send(None)


def test_a_swap_that_fails_changes_nothing(make_query: MakeQuery) -> None:
    good = bundle("decision := 7")
    point = EmbeddedPoint(good, gateway=Gateway())
    broken = Bundle(modules={"p.rego": "package gateway.authz\n\nx if {"}, data="{}", digest="0" * 64)
    with pytest.raises(RegoError):
        point.swap(broken)
    assert point.bundle is good
    assert codes(point, make_query()) == ("invalid_decision",)


def test_every_decision_comes_from_one_revision_over_many_swaps(make_query: MakeQuery) -> None:
    bundles = [bundle(allow(policy_version=f'"{n}"')) for n in range(10)]
    point = EmbeddedPoint(bundles[0], gateway=Gateway())
    for n, candidate in enumerate(bundles):
        point.swap(candidate)
        for _ in range(40):
            with pytest.raises(StopIteration) as done:
                point.decide(make_query()).send(None)
            decision: Decision = done.value.value
            assert (decision.policy_version, decision.digest) == (str(n), candidate.digest)


@pytest.mark.slow
def test_memory_stays_flat(make_query: MakeQuery, shipped: Bundle) -> None:
    point = EmbeddedPoint(shipped, gateway=Gateway())
    process, query = psutil.Process(), make_query()

    def run(times: int) -> int:
        for _ in range(times):
            with pytest.raises(StopIteration):
                point.decide(query).send(None)
        return int(process.memory_info().rss)

    before = run(5_000)
    assert run(20_000) - before < 8 * 1024 * 1024
