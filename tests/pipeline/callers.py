"""Callers of predictions, for tests: they remember what they heard."""

from __future__ import annotations

import asyncio

from worlds import World, encode

from gateway.pipeline.prediction import Prediction
from gateway.types import Delivery


class Caller:
    """Remembers how it ended; more than one end is a mistake."""

    def __init__(self) -> None:
        self.ends: list[Delivery | BaseException] = []

    def delivered(self, delivery: Delivery) -> None:
        self.ends.append(delivery)

    def failed(self, error: BaseException) -> None:
        self.ends.append(error)

    @property
    def end(self) -> Delivery | BaseException:
        (end,) = self.ends
        return end


def begun(world: World, **call: object) -> tuple[Prediction, Caller]:
    caller = Caller()
    return world.pipeline.begin(world.call(**call), encode, caller), caller


async def turns(count: int = 12) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def is_at_rest(world: World) -> bool:
    """Nothing is lent, admitted or owed any more."""
    tally = world.tally
    return world.shelf.lent == world.admission.inflight == world.admission.bytes == tally.inflight == 0
