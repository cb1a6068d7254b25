"""A decision point decides nothing while what it would decide with is not confirmed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.errors import PolicyUnavailable
from gateway.policy.bundle import Bundle
from gateway.policy.confirmed import ConfirmedPoint
from gateway.policy.pdp import Query
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.schema import Gateway

MakeQuery = Callable[..., Query]
S = 1_000_000_000


@pytest.fixture
def point(shipped: Bundle) -> EmbeddedPoint:
    return EmbeddedPoint(shipped, gateway=Gateway())


async def decides(confirmed: ConfirmedPoint, query: Query) -> bool:
    """Whether it decides; the same with and without waiting."""
    try:
        allow = (await confirmed.decide(query)).allow
    except PolicyUnavailable:
        with pytest.raises(PolicyUnavailable):
            confirmed.decide_now(query)
        return False
    now = confirmed.decide_now(query)
    assert now is not None
    assert now.allow == allow
    return allow


async def test_it_opens_with_a_confirmation_and_closes_by_age(point: EmbeddedPoint, make_query: MakeQuery) -> None:
    confirmed = ConfirmedPoint(point, max_age_s=5)
    assert confirmed.revision == point.revision
    assert confirmed.doubt(0) == "no policy has been confirmed yet"
    assert await decides(confirmed, make_query(received_ns=0)) is False
    confirmed.confirm(10 * S)
    assert confirmed.doubt(15 * S - 1) == ""
    assert await decides(confirmed, make_query(received_ns=15 * S - 1)) is True
    assert "more than 5 s ago" in confirmed.doubt(15 * S)
    assert await decides(confirmed, make_query(received_ns=15 * S)) is False
    confirmed.confirm(15 * S)
    assert await decides(confirmed, make_query(received_ns=15 * S)) is True


async def test_without_an_age_it_stays_open_until_it_is_shut(point: EmbeddedPoint, make_query: MakeQuery) -> None:
    confirmed = ConfirmedPoint(point)
    confirmed.confirm(1)
    assert await decides(confirmed, make_query(received_ns=2**62)) is True
    confirmed.distrust("another key signed it")
    assert confirmed.doubt(1) == "another key signed it"
    assert await decides(confirmed, make_query(received_ns=1)) is False
