"""The door turns away only while too many are handled, and whom it turns away is counted, not forgotten."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from worlds import World, encode

from gateway.errors import Overloaded
from gateway.ledger import events
from gateway.pipeline.admission import Admission
from gateway.pipeline.flood import SINGLE_PER_S
from gateway.rpc.shedding import Door, Shedding
from gateway.transport.seam import Entry, Refused, Shed
from gateway.types import Call


def door(world: World, most: int = 2) -> tuple[Shed, Admission]:
    admission = Admission(max_inflight=most, max_bytes=1000, clock_ns=world.clock)
    return Shedding(Door(admission.full, world.recorder.shed, world.recorder.shed_more, retry_after_ms=50)), admission


def excess(world: World) -> Call:
    """A call that was let in to be refused."""
    return world.call(context=msgspec.structs.replace(world.context(), excess=True))


async def test_it_is_open_below_the_limit() -> None:
    world = World()
    shed, _ = door(world)
    assert shed("10.0.0.1", 1, None) is Entry.USUAL
    assert shed("10.0.0.1", 2, None) is Entry.EXCESS
    assert world.tally.shed == 0


async def test_who_would_wait_longer_than_he_can_is_one_too_many() -> None:
    world = World()
    shed, admission = door(world, most=100_000)
    for _ in range(2):  # 50 calls end in 50 ms while 500 wait
        admission.look(before=500)
        world.clock.now_ns += 50_000_000
        for _ in range(50):
            context = world.context()
            admission.enter(context)
            admission.leave(context)
    admission.look(before=500)
    assert shed("10.0.0.1", 300, None) is Entry.USUAL
    assert shed("10.0.0.1", 300, 400_000_000) is Entry.USUAL
    assert shed("10.0.0.1", 300, 200_000_000) is Entry.EXCESS


async def test_those_who_came_with_one_that_was_turned_away_are_counted_with_him() -> None:
    world = World()
    world.clock.step_ns = 0
    shed, _ = door(world)
    for _ in range(SINGLE_PER_S):
        assert shed("10.0.0.1", 2, None) is Entry.EXCESS
        with pytest.raises(Overloaded):
            await world.handler(excess(world), encode)
    assert isinstance(shed("10.0.0.1", 2, None), Refused)
    shed.again("10.0.0.1", 6)
    shed.again("192.0.2.1", 3)
    assert world.tally.shed == 10
    world.recorder.settle(t_us=5)
    await asyncio.sleep(0.01)
    counted = [leaf.fields for leaf in map(events.decode, world.ledger.leaves) if leaf.kind == "shed"]
    assert {str(fields["network"]): fields["count"] for fields in counted} == {"10.0.0.0/24": 7, "192.0.2.0/24": 3}


async def test_the_first_of_a_second_are_let_in_to_be_refused_with_a_record_and_the_rest_is_counted() -> None:
    world = World()
    world.clock.step_ns = 0
    shed, _ = door(world)
    turned = []
    for _ in range(SINGLE_PER_S + 30):
        verdict = shed("10.0.0.1", 2, None)
        if isinstance(verdict, Refused):
            turned.append(verdict)
            continue
        with pytest.raises(Overloaded):
            await world.handler(excess(world), encode)
    assert len(turned) == 30
    assert all(verdict is turned[0] for verdict in turned)  # so that its bytes are made once
    assert ("grpc-retry-pushback-ms", b"50") in turned[0].trailers
    world.recorder.settle(t_us=5)
    await asyncio.sleep(0.01)
    leaves = [events.decode(leaf) for leaf in world.ledger.leaves]
    calls = [leaf for leaf in leaves if leaf.kind == "call"]
    (counted,) = [leaf for leaf in leaves if leaf.kind == "shed"]
    assert len(calls) == SINGLE_PER_S
    assert (counted.fields["count"], counted.fields["reason"], counted.fields["network"]) == (
        30,
        "overloaded",
        "10.0.0.0/24",
    )
    counts = world.tally.read()
    assert counts["started"] == len(calls) + counts["shed"] + counts["unrecorded"] + counts["inflight"]
    assert counts["shed"] == 30


async def test_a_new_second_records_again() -> None:
    world = World()
    world.clock.step_ns = 0
    shed, _ = door(world)
    for _ in range(SINGLE_PER_S):
        assert shed("", 2, None) is Entry.EXCESS
        with pytest.raises(Overloaded):
            await world.handler(excess(world), encode)
    assert isinstance(shed("", 2, None), Refused)
    world.clock.now_ns += 1_000_000_000
    assert shed("", 2, None) is Entry.EXCESS
