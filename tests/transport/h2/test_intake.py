"""Calls that wait for their handlers: others are refused meanwhile, and whoever leaves before is nobody's."""

from __future__ import annotations

import asyncio

import msgspec
from echo_service import EchoService
from peer import Peer

from gateway.transport.h2.shared import Shared
from gateway.transport.h2.starts import Starts
from gateway.transport.h2.turn_length import TurnLength
from gateway.transport.seam import Limits, Told

SECOND_NS = 1_000_000_000
MOST = 32  # handlers that start in a turn


def ids(count: int) -> range:
    """The first ``count`` ids of streams."""
    return range(1, 2 * count, 2)


class World:
    """Two connections of one service that answers at once, in the first nanosecond of all time."""

    def __init__(self) -> None:
        self.service = EchoService()
        self.service.release.set()
        self.shared = Shared(self.service.methods(), Limits(), compress_min_bytes=0, clock_ns=lambda: 1)
        self.shared.starts = Starts(lambda: 1, TurnLength(least=MOST, most=MOST))
        self.peer, self.other = Peer(self.shared), Peer(self.shared)

    async def end(self) -> None:
        """Let all handlers end."""
        while self.shared.starts.calls:
            await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_a_refusal_does_not_wait_for_those_who_are_served() -> None:
    world = World()
    world.peer.send(*ids(3 * MOST))
    for _ in range(2):  # the first turn makes tasks, and the second, with tasks of its own, lets them begin
        await asyncio.sleep(0)
    assert len(world.service.heads) == MOST
    assert len(world.shared.starts) == MOST
    world.service.most = 0
    world.other.send(1)
    assert world.other.statuses() == {1: ["8"]}
    await world.end()
    assert world.peer.statuses() == {stream: ["0"] for stream in ids(3 * MOST)}


async def test_who_is_one_too_many_but_to_be_heard_passes_those_who_wait() -> None:
    world = World()
    world.peer.send(*ids(2 * MOST))
    world.service.most, world.service.heard = 0, 1
    world.other.send(1)
    for _ in range(2):
        await asyncio.sleep(0)
    assert [head.excess for head in world.service.heads] == [True] + [False] * MOST
    await world.end()


async def test_how_long_a_caller_waits_is_told_while_others_wait() -> None:
    world = World()
    world.peer.send(*ids(MOST), timeout="5S")
    world.other.send(1, timeout="5S")
    world.other.send(3, timeout="5S")
    world.other.send(5, timeout="soon")
    asked = world.service.patience
    assert asked[:MOST] == [None] * MOST
    assert asked[MOST:] == [None, 5 * SECOND_NS] * 2 + [None]  # who is late is asked about twice, if he says how long
    await world.end()
    assert world.other.statuses() == {1: ["0"], 3: ["0"], 5: ["13"]}


async def test_a_call_that_is_reset_while_it_waits_is_not_served() -> None:
    world = World()
    world.peer.send(*ids(MOST))
    world.other.send(1, 3, reset=[1])
    await world.end()
    assert len(world.service.heads) == MOST + 1
    assert world.other.statuses() == {3: ["0"]}


async def test_a_call_whose_deadline_passes_while_it_waits_is_told_so_and_not_served() -> None:
    world = World()
    world.peer.send(*ids(MOST))
    world.other.send(1, 3, timeout="1S")
    world.shared.expire(2 * SECOND_NS)
    await world.end()
    assert world.other.statuses() == {1: ["4"], 3: ["4"]}
    assert len(world.service.heads) == MOST
    assert (len(world.shared.timed), len(world.shared.starts)) == (0, 0)


async def test_those_who_come_with_one_that_is_turned_away_are_counted_and_not_asked_about() -> None:
    world = World()
    world.service.most = 0
    world.peer.send(1)  # the first of a connection: its refusal is made
    del world.service.asked[:], world.service.patience[:]
    world.peer.send(3, 5, 7)
    assert len(world.service.asked) == 3
    assert len(world.service.patience) == 1
    world.service.most = None  # there is room again: whoever comes next is asked about
    world.peer.send(9)
    await world.end()
    assert len(world.service.patience) == 2
    assert world.peer.statuses() == {1: ["8"], 3: ["8"], 5: ["8"], 7: ["8"], 9: ["0"]}


class Ends:
    """A call under way that ends the moment it is cancelled."""

    def __init__(self, told: Told) -> None:
        self.cancel = told.stopped


async def test_who_comes_behind_one_who_left_in_the_same_packet_has_his_place() -> None:
    world = World()
    methods = msgspec.structs.replace(
        world.service.methods(prompt=True), prompt={"test.Test/Wait": lambda head, body, told: Ends(told)}
    )
    peer = Peer(shared := Shared(methods, Limits(), compress_min_bytes=0, clock_ns=lambda: 1))
    world.service.most = 0
    peer.send(1)
    world.service.most = 1
    peer.send(3)
    for _ in range(2):
        await asyncio.sleep(0)
    peer.send(5, 7, reset=[3], between=True)
    for _ in range(2):
        await asyncio.sleep(0)
    assert (peer.statuses(), shared.starts.calls) == ({1: ["8"], 5: ["8"]}, 1)
