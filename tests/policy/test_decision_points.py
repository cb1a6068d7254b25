"""One suite over every decision point: the embedded engine, with and without its cache, and a real OPA server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from gateway.errors import PermissionDenied
from gateway.policy.bundle import Bundle
from gateway.policy.cache import DecisionCache
from gateway.policy.connections import Address, Pool
from gateway.policy.obligations import Limit, MaskOutputs, RateLimit
from gateway.policy.opa import OpaPoint
from gateway.policy.pdp import DecisionPoint, Query, enforce
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.schema import Gateway

SHIPPED = Path(__file__).parents[2] / "policies"
MakeQuery = Callable[..., Query]


@pytest.fixture(params=["embedded", "cached", "opa"])
async def point(request: pytest.FixtureRequest, shipped: Bundle) -> AsyncIterator[DecisionPoint]:
    if request.param != "opa":
        cache = DecisionCache() if request.param == "cached" else None
        yield EmbeddedPoint(shipped, gateway=Gateway(), cache=cache)
        return
    start: Callable[[Path], str] = request.getfixturevalue("start_opa")
    address = Address.parse(start(SHIPPED))
    opa = OpaPoint(Pool(address), address, gateway=Gateway(), clock_ns=time.monotonic_ns, budget_ms=5000)
    yield opa
    opa.close()


async def test_an_allow_permits_exactly_what_was_asked(point: DecisionPoint, make_query: MakeQuery) -> None:
    query = make_query()
    for _ in range(2):
        decision = await point.decide(query)
        assert decision.allow is True
        assert query.model is not None
        assert enforce(decision).servable == query.model.id


async def test_without_waiting_it_says_the_same_or_that_it_must_wait(
    point: DecisionPoint, make_query: MakeQuery
) -> None:
    for query in (make_query(), make_query(), make_query(model="digits", shapes=((33, 10),))):
        now, waited = point.decide_now(query), await point.decide(query)
        if now is None:
            assert isinstance(point, OpaPoint)
        else:
            assert (now.allow, now.codes, now.obligations) == (waited.allow, waited.codes, waited.obligations)


async def test_a_denial_names_its_checks_and_gives_no_permit(point: DecisionPoint, make_query: MakeQuery) -> None:
    decision = await point.decide(make_query(model="digits", shapes=((33, 10),)))
    assert decision.allow is False
    assert set(decision.codes) == {"batch", "model"}
    with pytest.raises(PermissionDenied) as denied:
        enforce(decision)
    assert denied.value.decision_id == decision.id


async def test_obligations_arrive_typed(point: DecisionPoint, make_query: MakeQuery) -> None:
    masked = await point.decide(make_query(model="breast-cancer"))
    assert masked.obligations == (MaskOutputs(names=("probabilities",), how="zero"),)
    guest = await point.decide(make_query(tenant="guest", model="digits"))
    assert sorted(guest.obligations, key=repr) == [
        Limit(max_batch=8, max_inputs=1),
        RateLimit(key="guest", rps=50, burst=100),
    ]


async def test_ids_are_never_the_same(point: DecisionPoint, make_query: MakeQuery) -> None:
    ids = [(await point.decide(make_query())).id for _ in range(20)]
    assert len(set(ids)) == 20
    assert all(len(name) == 32 and int(name, 16) >= 0 for name in ids)


async def test_a_decision_says_by_what_it_was_made(point: DecisionPoint, make_query: MakeQuery) -> None:
    decision = await point.decide(make_query())
    assert decision.policy_version == "2026-11-23.1"
    assert decision.revision == point.revision != ""
    kept = msgspec.json.decode(decision.slice)
    assert kept["subject"]["tenant"] == "clinic"
    assert b"very-secret-token" not in decision.slice


async def test_calls_without_a_model(point: DecisionPoint, make_query: MakeQuery) -> None:
    probe = await point.decide(make_query(kind="anonymous", group="health", name="server_live", model=None))
    assert (probe.allow, probe.servable) == (True, None)
    load = await point.decide(make_query(group="model-repository", name="load", model=None))
    assert load.codes == ("permission",)
