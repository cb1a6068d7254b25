"""The door turns away only while too many are handled, and whom it turns away is counted, not forgotten."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from worlds import World, encode

from gateway.errors import Overloaded
from gateway.ledger import events
from gateway.pipeline.admission import Admission
from gateway.pipeline.door import Door
from gateway.pipeline.flood import SINGLE_PER_S
from gateway.types import Call


def door(world: World, most: int = 2) -> tuple[Door, Admission]:
    admission = Admission(max_inflight=most, max_bytes=1000, clock_ns=world.clock)
    return Door(admission, world.recorder.shed), admission


def excess(world: World) -> Call:
    """A call that was let in to be refused."""
    return world.call(context=msgspec.structs.replace(world.context(), excess=True))


async def test_it_is_open_below_the_limit() -> None:
    gate, admission = door(World())
    assert not gate.full(running=1, left_ns=None)
    assert gate.full(running=2, left_ns=None)
    assert admission.shed == 0


async def test_who_would_wait_longer_than_he_can_is_one_too_many() -> None:
    world = World()
    gate, admission = door(world, most=100_000)
    for _ in range(2):  # 50 calls end in 50 ms while 500 wait
        admission.look(before=500)
        world.clock.now_ns += 50_000_000
        for _ in range(50):
            context = world.context()
            admission.enter(context)
            admission.leave(context)
    admission.look(before=500)
    assert not gate.full(running=300, left_ns=None)
    assert not gate.full(running=300, left_ns=400_000_000)
    assert gate.full(running=300, left_ns=200_000_000)


async def test_the_first_of_a_second_are_let_in_to_be_refused_with_a_record_and_the_rest_is_counted() -> None:
    world = World()
    world.clock.step_ns = 0
    gate, admission = door(world)
    turned = 0
    for _ in range(SINGLE_PER_S + 30):
        if gate.turns_away("10.0.0.1"):
            turned += 1
            continue
        with pytest.raises(Overloaded):
            await world.handler(excess(world), encode)
    assert turned == admission.shed == 30
    world.recorder.settle(t_us=5)
    await asyncio.sleep(0.01)
    leaves = [events.decode(leaf) for leaf in world.ledger.leaves]
    calls = [leaf for leaf in leaves if leaf.kind == "call"]
    (shed,) = [leaf for leaf in leaves if leaf.kind == "shed"]
    assert len(calls) == SINGLE_PER_S
    assert (shed.fields["count"], shed.fields["reason"], shed.fields["network"]) == (30, "overloaded", "10.0.0.0/24")
    counts = world.tally.read()
    assert counts["started"] == len(calls) + counts["shed"] + counts["unrecorded"] + counts["inflight"]
    assert counts["shed"] == 30


async def test_a_new_second_records_again() -> None:
    world = World()
    world.clock.step_ns = 0
    gate, _ = door(world)
    for _ in range(SINGLE_PER_S):
        assert not gate.turns_away("")
        with pytest.raises(Overloaded):
            await world.handler(excess(world), encode)
    assert gate.turns_away("")
    world.clock.now_ns += 1_000_000_000
    assert not gate.turns_away("")
