"""When what is queued is written: a refusal at once, everything else together."""

from __future__ import annotations

import asyncio

import pytest
from echo_service import EchoService
from peer import Peer

from gateway.transport.h2.shared import Shared
from gateway.transport.seam import Limits


def shared(service: EchoService) -> Shared:
    return Shared(service.methods(), Limits(), compress_min_bytes=0, clock_ns=lambda: 1)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_refusal_is_written_before_the_loop_turns() -> None:
    service = EchoService()
    service.most = 1
    peer = Peer(shared(service))
    await turns()
    peer.send(1, 3, 5)
    assert peer.statuses() == {3: ["8"], 5: ["8"]}
    service.release.set()
    await turns()
    assert peer.statuses() == {1: ["0"], 3: ["8"], 5: ["8"]}


@pytest.mark.parametrize("calls", [1, 7])
async def test_answers_of_one_turn_share_a_write(calls: int) -> None:
    service = EchoService()
    service.release.set()
    peer = Peer(shared(service))
    await turns()
    before = peer.transport.writes
    peer.send(*range(1, 2 * calls, 2))
    assert peer.statuses() == {}
    await turns()
    assert len(peer.statuses()) == calls
    assert peer.transport.writes == before + 1
