"""Draining: new calls are turned away, calls in flight finish, the rest is cancelled after the grace."""

from __future__ import annotations

import asyncio
import socket
import time

import grpc
import grpc.aio
import pytest
from echo_service import EchoService
from transports import KINDS, running

pytestmark = pytest.mark.parametrize("kind", list(KINDS))


async def test_calls_in_flight_finish(kind: str) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        call = ch.unary_unary("/test.Test/Wait")(b"")
        await asyncio.wait_for(server.service.started.wait(), 2)
        drained = asyncio.create_task(server.transport.drain(grace_s=5))
        await asyncio.sleep(0.1)
        assert not drained.done()
        server.service.release.set()
        assert await call == b"released"
        await asyncio.wait_for(drained, 2)


async def test_what_does_not_finish_is_cancelled_after_the_grace(kind: str) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        call = ch.unary_unary("/test.Test/Stubborn")(b"")
        await asyncio.wait_for(server.service.started.wait(), 2)
        began = time.monotonic()
        await server.transport.drain(grace_s=0.3)
        assert 0.25 < time.monotonic() - began < 3
        assert server.service.cancelled.is_set()  # it could say its last words
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call
        assert await call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_a_connection_that_was_just_made_is_served_not_reset(kind: str) -> None:
    async with running(kind) as server:
        made = [_connect(server.port)]
        await asyncio.sleep(0.1)
        if kind != "grpcio":  # the loop does not turn between this and the drain: nobody has accepted it
            made.append(_connect(server.port))  # gRPC core may reset what waits to be accepted
        loop = asyncio.get_running_loop()
        for sock in made:
            sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        said = [loop.run_in_executor(None, sock.recv, 4096) for sock in made]
        await server.transport.drain(grace_s=1)
        assert [(await one)[3:4] for one in said] == [b"\x04"] * len(made)  # SETTINGS
        for sock in made:
            sock.close()


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


async def test_nobody_gets_in_afterwards(kind: str) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        await ch.unary_unary("/test.Test/Echo")(b"")
        await server.transport.drain(grace_s=1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)


async def test_draining_an_idle_transport_is_quick_and_may_be_repeated(kind: str) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        await ch.unary_unary("/test.Test/Echo")(b"")
        began = time.monotonic()
        await server.transport.drain(grace_s=10)
        await server.transport.drain(grace_s=10)
        assert time.monotonic() - began < 2


async def test_two_workers_share_a_port(kind: str) -> None:
    async with running(kind) as first, running(kind, port=first.port) as second:
        assert first.port == second.port


async def test_an_address_that_is_not_ours_is_an_os_error(kind: str) -> None:
    transport = KINDS[kind]()
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):
        await transport.start(EchoService().methods(), host="192.0.2.1", port=0)
