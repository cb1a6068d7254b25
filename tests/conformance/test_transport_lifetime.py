"""How long connections live, over every transport: idleness, age, keep-alive of well-behaved clients."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
from transports import KINDS, running

from gateway.transport.seam import Limits

pytestmark = pytest.mark.parametrize("kind", list(KINDS))


async def test_an_idle_connection_is_told_to_go(kind: str) -> None:
    async with running(kind, Limits(idle_s=0.5)) as server:
        client = await server.raw()
        assert await client.status(client.call()) == 0
        await client.goaway()
        await client.until(client.closed.is_set)


async def test_an_old_connection_finishes_its_calls_and_goes(kind: str) -> None:
    async with running(kind, Limits(max_age_s=0.5)) as server:
        client = await server.raw()
        stream = client.call(path="/test.Test/Wait")
        assert (await client.goaway()).error_code == 0
        assert not client.closed.is_set()
        server.service.release.set()
        assert await client.status(stream) == 0
        await client.until(client.closed.is_set)


async def test_calls_on_an_old_connection_get_the_grace_and_no_more(kind: str) -> None:
    async with running(kind, Limits(max_age_s=0.4, max_age_grace_s=0.6)) as server:
        client = await server.raw()
        client.call(path="/test.Test/Wait")
        await client.goaway()
        await client.until(client.closed.is_set)
        await asyncio.wait_for(server.service.cancelled.wait(), 2)


async def test_clients_reconnect_without_losing_a_call(kind: str) -> None:
    limits = Limits(max_age_s=0.3)
    async with running(kind, limits) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        echo = ch.unary_unary("/test.Test/Echo")
        for n in range(60):
            assert await echo(b"%d" % n, wait_for_ready=True) == b"%d" % n
            await asyncio.sleep(0.02)


async def test_keep_alive_within_the_interval_is_welcome(kind: str) -> None:
    options = (("grpc.keepalive_time_ms", 300), ("grpc.keepalive_permit_without_calls", 1))
    async with (
        running(kind, Limits(min_ping_interval_s=0.2)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as ch,
    ):
        echo = ch.unary_unary("/test.Test/Echo")
        await echo(b"x")
        await asyncio.sleep(2)
        assert ch.get_state() == grpc.ChannelConnectivity.READY
        assert await echo(b"y") == b"y"
