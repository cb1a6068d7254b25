"""Predictions that come in one turn of the loop begin together in the next; who is alone or refused does not wait."""

from __future__ import annotations

import asyncio

import msgspec
from callers import Caller, begun, is_at_rest, turns
from worlds import World, encode

from gateway.errors import Overloaded
from gateway.types import Delivery


async def test_the_first_begins_at_once_and_those_who_come_with_it_in_the_next_turn() -> None:
    world = World()
    callers = [begun(world)[1] for _ in range(3)]
    assert (world.admission.inflight, len(world.rules.queries)) == (3, 1)
    await turns(1)
    assert len(world.rules.queries) == 3
    await turns()
    assert all(isinstance(caller.end, Delivery) for caller in callers)
    assert is_at_rest(world)


async def test_who_is_one_too_many_hears_so_before_others_begin() -> None:
    world = World()
    callers = [begun(world)[1] for _ in range(2)]
    excess = world.call(context=msgspec.structs.replace(world.context(), excess=True))
    refused = Caller()
    world.pipeline.begin(excess, encode, refused)
    await turns()
    assert isinstance(refused.end, Overloaded)
    assert [record.outcome for record in world.records()] == ["refused", "answered", "answered"]
    assert all(isinstance(caller.end, Delivery) for caller in callers)
    assert is_at_rest(world)


async def test_who_leaves_before_it_began_is_recorded_as_gone_and_nobody_is_asked() -> None:
    world = World()
    _, first = begun(world)
    second, caller = begun(world)
    second.cancel()
    assert isinstance(caller.end, asyncio.CancelledError)
    await turns()
    assert isinstance(first.end, Delivery)
    records = {record.outcome: record for record in world.records()}
    assert (records["cancelled"].stage, len(world.rules.queries), world.model.runs) == ("admit", 1, 1)
    second.cancel()
    await turns()
    assert len(caller.ends) == 1
    assert len(world.records()) == 2
    assert is_at_rest(world)
