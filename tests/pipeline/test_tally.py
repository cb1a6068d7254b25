"""Counts and records tell the same story, however calls end."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import HEALTH, World, encode

from gateway.errors import GatewayError

ENDINGS = ["answered", "denied", "unknown", "bad key", "health", "no commit", "cancelled", "ledger closed"]


async def one(world: World, ending: str) -> None:
    match ending:
        case "denied":
            call = world.call(context=world.context(key="other"))
        case "unknown":
            call = world.call(model="nope")
        case "bad key":
            call = world.call(context=world.context(key="bad"))
        case _:
            call = world.call()
    if ending == "health":
        await world.gate.run(world.context(HEALTH), None, lambda _: b"live")
        return
    if ending == "no commit":
        world.ledger.fail_next()
    if ending == "ledger closed":
        await world.ledger.close()
    task = asyncio.create_task(world.handler(call, encode))
    if ending == "cancelled":
        world.model.gate = asyncio.Event()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
    with contextlib.suppress(GatewayError, asyncio.CancelledError):
        await task
    world.model.gate = None


@given(st.lists(st.sampled_from(ENDINGS), max_size=12))
@settings(max_examples=60, deadline=None)
async def test_what_started_is_recorded_shed_unrecorded_or_in_flight(endings: list[str]) -> None:
    world = World()
    world.rules.denied = {"t2": ("tenant",)}
    for ending in endings:
        await one(world, ending)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    recorded = sum(record.kind == "call" for record in world.records())
    counted = world.tally
    assert counted.started == recorded + counted.shed + counted.unrecorded + counted.inflight
    assert counted.inflight == 0
    assert counted.owed[0] == recorded  # what outlives the process says the same
    assert counted.started == len(endings) - endings.count("health")


async def test_a_call_under_way_is_in_flight() -> None:
    world = World()
    world.model.gate = asyncio.Event()
    task = asyncio.create_task(world.handler(world.call(), encode))
    await asyncio.sleep(0.01)
    assert dict(world.tally.read()) == {"started": 1, "inflight": 1, "shed": 0, "unrecorded": 0}
    world.model.gate.set()
    assert world.tally.owed[0] == 1
    await task
    assert world.tally.inflight == 0


async def test_a_flood_is_counted_as_shed() -> None:
    world = World()
    world.clock.step_ns = 0
    for _ in range(60):
        with pytest.raises(GatewayError):
            await world.handler(world.call(context=world.context(key="bad")), encode)
    assert world.tally.shed == 10
