"""Bidirectional streams by a real client over every transport."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
from echo_service import DENIED
from transports import KINDS, running

pytestmark = pytest.mark.parametrize("kind", list(KINDS))


async def test_messages_come_back_in_order_while_the_stream_is_open(kind: str) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        call = ch.stream_stream("/test.Test/Chat")()
        for n in range(50):
            await call.write(b"%d" % n)
            assert await call.read() == b"%d" % n
        await call.done_writing()
        assert await call.read() == grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK


async def test_large_messages_flow_both_ways(kind: str) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        bodies = [bytes([n]) * 1_500_000 for n in range(8)]
        call = ch.stream_stream("/test.Test/Chat")(iter(bodies))
        assert [body async for body in call] == bodies


async def test_a_refusal_ends_the_stream_after_what_was_sent(kind: str) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        call = ch.stream_stream("/test.Test/Chat")()
        await call.write(b"one")
        assert await call.read() == b"one"
        await call.write(b"deny")
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        assert await call.code() == grpc.StatusCode.PERMISSION_DENIED
        assert await call.details() == DENIED.message
        assert dict(await call.trailing_metadata())["x-why"] == "rule"


async def test_a_refusal_before_the_first_message(kind: str) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        call = ch.stream_stream("/test.Test/Break")()
        assert await call.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_the_server_may_end_first(kind: str) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        call = ch.stream_stream("/test.Test/Quit")()
        assert await call.read() == b"only"
        assert await call.read() == grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK


@pytest.mark.parametrize("path", ["/test.Test/Chat", "/test.Test/Flood"])
async def test_hanging_up_closes_the_handlers_iterator(kind: str, path: str) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        call = ch.stream_stream(path)()
        await call.write(b"x")
        await call.read()
        call.cancel()
        await asyncio.wait_for(server.service.closed.wait(), 2)


async def test_a_deadline_ends_the_stream(kind: str) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        call = ch.stream_stream("/test.Test/Chat")(timeout=0.3)
        await call.write(b"x")
        assert await call.read() == b"x"
        assert await call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(server.service.closed.wait(), 2)


async def test_a_reader_who_stops_reading_stops_the_sender(kind: str) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        call = ch.stream_stream("/test.Test/Flood")()
        await call.read()
        last = -1
        while server.service.running != last:  # until it stands still
            last = server.service.running
            await asyncio.sleep(0.3)
        assert server.service.running < 400  # 25 MiB of windows and socket buffers at most
        for _ in range(last):
            await call.read()
        call.cancel()
