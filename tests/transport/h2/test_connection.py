"""A connection that is over is forgotten at once, without the collector."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest
from echo_service import EchoService
from peer import Peer

from gateway.transport.h2.connection import Connection
from gateway.transport.h2.shared import Shared
from gateway.transport.seam import Limits


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def shared(service: EchoService) -> Shared:
    return Shared(service.methods(), Limits(), compress_min_bytes=0, clock_ns=lambda: 1)


async def turns(count: int = 8) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def hang_up(peer: Peer) -> weakref.ref[Connection]:
    """The connection of ``peer``, lost, and held by nobody but itself."""
    connection = peer.transport._protocol
    assert isinstance(connection, Connection)
    connection.connection_lost(None)
    peer.transport._protocol = asyncio.Protocol()
    return weakref.ref(connection)


async def test_one_on_which_calls_were_answered_is_freed_when_it_is_lost() -> None:
    service = EchoService()
    service.release.set()
    peer = Peer(shared(service))
    await turns()
    peer.send(1, 3, 5)
    await turns()
    assert len(peer.statuses()) == 3
    gone = hang_up(peer)
    await turns()
    assert gone() is None


async def test_one_whose_handler_still_runs_is_freed_when_that_has_ended() -> None:
    service = EchoService()
    common = shared(service)
    peer = Peer(common)
    await turns()
    peer.send(1)
    await turns()
    gone = hang_up(peer)
    assert gone() is not None
    await turns()
    assert service.cancelled.is_set()
    assert gone() is None
    assert common.starts.calls == 0
