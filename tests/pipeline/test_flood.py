"""A flood of bad credentials is counted exactly and does not fill the disk."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import World, encode

from gateway.errors import LedgerUnavailable, Unauthenticated
from gateway.ledger import events
from gateway.pipeline.flood import NETWORKS, SINGLE_PER_S, Flood, network

SECOND_NS = 1_000_000_000


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["10.0.0.1", "10.0.1.1", "::1", ""])), max_size=400))
def test_every_call_is_either_recorded_or_counted(calls: list[tuple[int, str]]) -> None:
    now = [0]
    flood = Flood(lambda: now[0])
    single = counted = 0
    for pause, peer in calls:
        now[0] += pause * SECOND_NS // 3
        if not flood.counts("unauthenticated", peer):
            single += 1
    counted = sum(int(fields["count"]) for fields in flood.drain())
    assert single + counted == len(calls)
    assert single <= SINGLE_PER_S * (now[0] // SECOND_NS + 1)
    assert flood.drain() == []


def test_networks_are_told_apart_but_not_without_end() -> None:
    flood = Flood(lambda: 0, single_per_s=0)
    for third in range(NETWORKS + 10):
        assert flood.counts("overloaded", f"10.0.{third}.7")
    rows = {str(fields["network"]): fields["count"] for fields in flood.drain()}
    assert len(rows) == NETWORKS + 1
    assert rows["others"] == 10
    assert rows["10.0.0.0/24"] == 1


@pytest.mark.parametrize(
    ("peer", "expected"),
    [("192.0.2.77", "192.0.2.0/24"), ("2001:db8:1:2ff::1", "2001:db8:1:200::/56"), ("", ""), ("unix:/x", "")],
)
def test_a_peer_is_known_by_its_network_alone(peer: str, expected: str) -> None:
    assert network(peer) == expected


async def test_a_flood_leaves_a_bounded_number_of_records_and_exact_counts() -> None:
    world = World()
    world.clock.step_ns = 0
    for _ in range(SINGLE_PER_S + 30):
        with pytest.raises(Unauthenticated):
            await world.handler(world.call(context=world.context(key="bad")), encode)
    world.recorder.settle(t_us=5)
    await asyncio.sleep(0.01)

    leaves = [events.decode(leaf) for leaf in world.ledger.leaves]
    assert [leaf.kind for leaf in leaves].count("call") == SINGLE_PER_S
    (shed,) = [leaf for leaf in leaves if leaf.kind == "shed"]
    assert (shed.fields["count"], shed.fields["reason"], shed.t_us) == (30, "unauthenticated", 5)


async def test_relaxed_answers_wait_when_too_much_would_be_lost() -> None:
    world = World(relaxed=True)
    world.ledger.hold()
    await world.handler(world.call(), encode)
    world.clock.now_ns += 60_000_000
    waiting = asyncio.create_task(world.handler(world.call(), encode))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    world.ledger.release()
    await waiting


async def test_an_ending_that_cannot_be_recorded_is_unavailable_whatever_it_was() -> None:
    world = World()
    world.ledger.fail_next()
    with pytest.raises(LedgerUnavailable):
        await world.handler(world.call(model="nope"), encode)
