"""Floods and silences against ``h2``: bounded memory, a clean end, and the worker serves on."""

from __future__ import annotations

import asyncio
import resource

import pytest
from hyperframe.frame import DataFrame, PingFrame, SettingsFrame, WindowUpdateFrame
from raw_client import RawClient, message, raw_frame
from transports import Running, running

from gateway.transport.seam import Limits

PROTOCOL_ERROR, FLOW_CONTROL, FRAME_SIZE, COMPRESSION, CALM = 1, 3, 6, 9, 11
INITIAL_WINDOW = 4


async def serves_still(server: Running) -> None:
    client = await server.raw()
    assert await client.status(client.call()) == 0


def rss_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


async def test_pings_beyond_the_interval_end_the_connection() -> None:
    async with running("h2") as server:
        client = await server.raw()
        for _ in range(20_000):
            client.frame(PingFrame(0, b"12345678"))
        goaway = await client.goaway()
        assert goaway.error_code == CALM
        assert goaway.additional_data == b"too_many_pings"
        await serves_still(server)


async def test_pings_between_calls_are_fine() -> None:
    async with running("h2") as server:
        client = await server.raw()
        for _ in range(10):
            client.frame(PingFrame(0, b"12345678"))
            assert await client.status(client.call()) == 0
        await client.until(lambda: sum(isinstance(f, PingFrame) for f in client.frames) == 10)
        assert not client.closed.is_set()


async def test_a_settings_flood_ends_the_connection() -> None:
    async with running("h2") as server:
        client = await server.raw()
        for _ in range(5_000):
            client.frame(SettingsFrame(0, settings={INITIAL_WINDOW: 65_535}))
        assert (await client.goaway()).error_code == CALM
        await serves_still(server)


async def test_a_peer_that_never_acknowledges_our_settings_is_closed() -> None:
    async with running("h2", Limits(handshake_s=0.5)) as server:
        client = await server.raw()
        client.acks = False
        await client.until(client.closed.is_set)
        polite = await server.raw()
        await asyncio.sleep(1.2)
        assert await polite.status(polite.call()) == 0


async def test_a_continuation_flood_ends_the_connection() -> None:
    async with running("h2") as server:
        client = await server.raw()
        client.send(raw_frame(1, 0, 1, b"\x82"))
        for _ in range(1_000):
            client.send(raw_frame(9, 0, 1, b"\x40\x01a\x7f\x00" + b"a" * 120))
        assert (await client.goaway()).error_code in (PROTOCOL_ERROR, CALM, COMPRESSION)
        await serves_still(server)


async def test_empty_data_frames_without_end_end_the_connection() -> None:
    async with running("h2") as server:
        client = await server.raw()
        stream = client.open()
        for _ in range(50_000):
            client.frame(DataFrame(stream, b""))
        await client.until(lambda: client.closed.is_set() or client.was_reset(stream) is not None)
        await serves_still(server)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_window_that_never_opens_holds_one_answer_and_no_more(reset: bool) -> None:
    async with running("h2", Limits(body_s=1.0)) as server:
        client = await server.raw(settings={INITIAL_WINDOW: 0})
        stream = client.call(b"3000000", "/test.Test/Grow")
        await client.until(lambda: stream in client.fields)
        if reset:
            client.reset(stream)
        else:
            await client.until(lambda: client.was_reset(stream) is not None)
        assert client.body(stream) == b""
        await serves_still(server)


async def test_an_answer_follows_a_window_that_opens_in_drops() -> None:
    async with running("h2") as server:
        client = await server.raw(settings={INITIAL_WINDOW: 10})
        stream = client.call(b"500", "/test.Test/Grow")
        for _ in range(100):
            client.frame(WindowUpdateFrame(stream, 6))
            await client.flush()
            await asyncio.sleep(0)
        assert await client.status(stream) == 0
        assert client.body(stream) == message(bytes(500))


async def test_many_large_answers_share_the_connections_window() -> None:
    async with running("h2") as server:
        client = await server.raw()
        streams = [client.call(b"1000000", "/test.Test/Grow") for _ in range(40)]
        for stream in streams:
            assert await client.status(stream) == 0
            assert len(client.body(stream)) == 1_000_005


async def test_who_asks_and_never_reads_costs_bounded_memory() -> None:
    async with running("h2", Limits(body_s=2.0)) as server:
        before = rss_mib()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        client = RawClient(reader, writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport can; a deaf peer
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        client.frame(SettingsFrame(0, settings={INITIAL_WINDOW: 2**31 - 1}))
        client.frame(WindowUpdateFrame(0, 2**31 - 1 - 65_535))
        for _ in range(100):
            client.call(b"2000000", "/test.Test/Grow")
        await asyncio.sleep(1)
        assert rss_mib() - before < 400  # 100 answers of 2 MB were asked for; each is held once
        await serves_still(server)
        await client.close()


async def test_a_stream_of_empty_messages_is_held_back_while_its_handler_sleeps() -> None:
    async with running("h2") as server:
        client = await server.raw()
        stream = client.open("/test.Test/Sleep")
        await asyncio.wait_for(server.service.started.wait(), 2)
        for _ in range(300):
            client.data(stream, message(b"") * 3_000, end=False)  # 4.5 MB of prefixes
            await client.flush()
            await asyncio.sleep(0)
        await client.until(lambda: client.was_reset(stream) is not None)
        assert client.was_reset(stream) == FLOW_CONTROL  # it sent more than it was allowed to
        updates = [f for f in client.frames if isinstance(f, WindowUpdateFrame) and f.stream_id == stream]
        assert sum(update.window_increment for update in updates) < 1_000_000
        await serves_still(server)


@pytest.mark.parametrize(
    "garbage",
    [
        raw_frame(0, 0, 0, b"data on stream zero"),
        raw_frame(1, 4, 2, b"\x82"),
        raw_frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        raw_frame(4, 0, 0, b"12345"),
        raw_frame(6, 0, 0, b"short"),
        raw_frame(8, 0, 0, b"\x00\x00\x00\x00"),
        raw_frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
        raw_frame(0, 0, 1, b"", length=2**24 - 1) + bytes(100_000),
        raw_frame(9, 4, 1, b"\x82"),
        raw_frame(5, 4, 1, b"\x00\x00\x00\x02\x82"),
    ],
)
async def test_a_broken_protocol_is_answered_with_goaway(garbage: bytes) -> None:
    async with running("h2") as server:
        client = await server.raw()
        client.send(garbage)
        assert (await client.goaway()).error_code != 0
        await client.until(client.closed.is_set)
        await serves_still(server)


async def test_handlers_that_outlive_their_reset_count_against_the_connection() -> None:
    async with running("h2", Limits(max_streams=3)) as server:
        client = await server.raw()
        ending = []
        for _ in range(6):
            stream = client.call(path="/test.Test/Deaf")
            await client.flush()
            await asyncio.sleep(0.05)
            client.reset(stream)
            ending.append(stream)
        assert await client.status(client.call()) == 8
        server.service.release.set()
        await asyncio.sleep(0.05)
        assert await client.status(client.call()) == 0
