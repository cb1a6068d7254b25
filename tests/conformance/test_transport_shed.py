"""Calls that are turned away before anything was done for them: both transports ask, refuse, and go on."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
from echo_service import DETAILS
from raw_client import message
from transports import KINDS, Running, running

EXHAUSTED = 8
WAIT = "/test.Test/Wait"


def waits(server: Running, channel: grpc.aio.Channel) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
    return channel.unary_unary(WAIT)(b"x", timeout=20)


@pytest.mark.parametrize("kind", KINDS)
async def test_one_too_many_is_refused_and_the_others_are_served(kind: str) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        server.service.most = 2
        inside = [waits(server, channel), waits(server, channel)]
        while server.service.running < 2:
            await asyncio.sleep(0.005)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await waits(server, channel)
        trailers = dict(caught.value.trailing_metadata() or ())
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.details() == "too many"
        assert (trailers["grpc-retry-pushback-ms"], trailers["grpc-status-details-bin"]) == ("50", DETAILS)
        assert await channel.unary_unary("/test.Test/Echo")(b"not asked") == b"not asked"
        assert [peer for peer, _ in server.service.asked] == ["127.0.0.1"] * 3
        server.service.release.set()
        assert len(await asyncio.gather(*inside)) == 2
        assert server.service.asked[-1] == ("127.0.0.1", 2)
        await waits(server, channel)
        assert server.service.asked[-1] == ("127.0.0.1", 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_one_too_many_who_is_to_be_heard_reaches_the_handler_as_such(kind: str) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        server.service.release.set()
        await waits(server, channel)
        server.service.most, server.service.heard = 0, 1
        await waits(server, channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await waits(server, channel)
        assert [head.excess for head in server.service.heads] == [False, True]


async def test_thousands_turned_away_do_not_end_the_connection() -> None:
    async with running("h2") as server:
        server.service.most = 0
        client = await server.raw()
        for _ in range(30):
            streams = [client.call(path=WAIT) for _ in range(100)]
            assert {await client.status(stream) for stream in streams} == {EXHAUSTED}
        server.service.most = None
        server.service.release.set()
        assert await client.status(client.call(path=WAIT)) == 0
        assert server.service.asked[-1] == ("127.0.0.1", 0)


async def test_a_long_body_is_refused_before_all_of_it_came() -> None:
    async with running("h2") as server:
        server.service.most = 0
        client = await server.raw()
        stream = client.open(path=WAIT)
        client.data(stream, message(b"x" * 10, length=1_000_000), end=False)
        client.data(stream, b"x" * 10, end=False)
        assert await client.status(stream) == EXHAUSTED
        client.data(stream, b"x" * 10)
        assert await client.status(client.call()) == 0


async def test_a_call_that_is_reset_before_its_body_came_is_nobody_s() -> None:
    async with running("h2") as server:
        server.service.most = 0
        client = await server.raw()
        stream = client.open(path=WAIT)
        client.reset(stream)
        ended = client.open(path=WAIT)
        client.trailers(ended, [("x-late", "1")])
        assert await client.status(ended) == EXHAUSTED
        assert await client.status(client.call()) == 0


async def test_calls_that_are_reset_before_their_bodies_came_do_not_end_the_connection() -> None:
    async with running("h2") as server:
        server.service.most = 0
        client = await server.raw()
        for _ in range(60):  # three times as many as may be reset before we looked
            stream = client.open(path=WAIT)
            assert await client.status(client.call()) == 0  # so the head was read
            client.reset(stream)
        assert await client.status(client.call()) == 0


@pytest.mark.parametrize("frames", [2, 30])
async def test_what_comes_of_bodies_after_they_were_refused_does_not_end_the_connection(frames: int) -> None:
    async with running("h2") as server:
        server.service.most = 0
        client = await server.raw()
        for _ in range(3000 // frames):
            stream = client.open(path=WAIT)
            client.data(stream, message(b"x" * 10, length=10 * frames), end=False)
            for _ in range(frames - 2):
                client.data(stream, b"x" * 10, end=False)
            client.data(stream, b"")
            assert await client.status(stream) == EXHAUSTED
        assert await client.status(client.call()) == 0


async def test_a_call_without_a_body_is_refused_too() -> None:
    async with running("h2") as server:
        server.service.most = 0
        client = await server.raw()
        assert await client.status(client.open(path=WAIT, end=True)) == EXHAUSTED


async def test_however_calls_end_none_is_counted_for_ever() -> None:
    async with running("h2") as server:
        client = await server.raw()
        answered = client.call()
        failed = client.call(path="/test.Test/Fail")
        late = client.call(path=WAIT, extra=[("grpc-timeout", "30m")])
        reset = client.call(path=WAIT)
        client.reset(reset)  # in the same packet: its handler never begins
        for stream in (answered, failed, late):
            await client.status(stream)
        server.service.release.set()
        assert await client.status(client.call(path=WAIT)) == 0
        assert server.service.asked[-1] == ("127.0.0.1", 0)
