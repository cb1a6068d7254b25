"""What ``h2`` answers by itself where grpc core does otherwise, or nothing: its own rules, frame by frame."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import grpc.aio
import pytest
from certificates import Authority
from hyperframe.frame import GoAwayFrame, PingFrame, SettingsFrame
from raw_client import message
from transports import running

from gateway.transport.seam import Limits
from gateway.transport.tls import ServerTls

OK, DEADLINE, INTERNAL, UNIMPLEMENTED, EXHAUSTED = 0, 4, 13, 12, 8


@pytest.mark.parametrize("content_type", ["", "application/json", "application/grpc-web+proto", "text/plain"])
async def test_another_content_type_is_415(content_type: str) -> None:
    async with running("h2") as server:
        client = await server.raw()
        stream = client.open(content_type=content_type)
        client.data(stream, message(b"x"))
        assert (await client.end(stream))[":status"] == "415"
        assert await client.status(client.call()) == OK


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto", "application/grpc;x=1"])
async def test_every_grpc_content_type_is_served(content_type: str) -> None:
    async with running("h2") as server:
        client = await server.raw()
        stream = client.open(content_type=content_type)
        client.data(stream, message(b"x"))
        assert await client.status(stream) == OK


async def test_another_method_is_405() -> None:
    async with running("h2") as server:
        client = await server.raw()
        assert (await client.end(client.open(method="GET", end=True)))[":status"] == "405"


async def test_a_unary_call_takes_exactly_one_message() -> None:
    async with running("h2") as server:
        client = await server.raw()
        none = client.open(end=True)
        empty = client.open()
        client.data(empty, b"")
        two = client.open()
        client.data(two, message(b"a") + message(b"b"))
        late = client.open()
        client.data(late, message(b"a"), end=False)
        client.data(late, message(b"b"))
        assert [await client.status(s) for s in (none, empty, two, late)] == [UNIMPLEMENTED] * 4
        assert server.service.heads == []


async def test_several_messages_in_one_data_frame_of_a_stream() -> None:
    async with running("h2") as server:
        client = await server.raw()
        stream = client.open("/test.Test/Chat")
        client.data(stream, message(b"a") + message(b"") + message(b"c"))
        assert await client.status(stream) == OK
        assert client.body(stream) == message(b"a") + message(b"") + message(b"c")


async def test_a_large_frame_may_come_with_the_acknowledgement_that_allows_it() -> None:
    async with running("h2") as server:
        client = await server.raw()
        client.acks = False
        await client.until(lambda: any(isinstance(f, SettingsFrame) for f in client.frames))
        client.frame(SettingsFrame(0, flags=["ACK"]))
        body = bytes(60_000)
        assert await client.status(client.call(body)) == OK
        assert len(client.body(1)) == len(message(body))


async def test_request_trailers_end_the_body() -> None:
    async with running("h2") as server:
        client = await server.raw()
        stream = client.open()
        client.data(stream, message(b"x"), end=False)
        client.trailers(stream, [("x-late", "1")])
        assert await client.status(stream) == OK
        assert all(name != "x-late" for name, _ in server.service.heads[0].metadata)


async def test_binary_values_joined_by_commas() -> None:
    async with running("h2") as server:
        client = await server.raw()
        assert await client.status(client.call(extra=[("x-raw-bin", "AAH/EA==, AAE")])) == OK
        assert [v for n, v in server.service.heads[0].metadata if n == "x-raw-bin"] == [
            b"\x00\x01\xff\x10",
            b"\x00\x01",
        ]
        assert await client.status(client.call(extra=[("x-raw-bin", "not base64!")])) == INTERNAL


async def test_a_deadline_that_has_passed_already() -> None:
    async with running("h2") as server:
        client = await server.raw()
        assert await client.status(client.call(path="/test.Test/Wait", extra=[("grpc-timeout", "0n")])) == DEADLINE


async def test_the_server_says_deadline_exceeded_after_the_handlers_last_words() -> None:
    async with running("h2") as server:
        client = await server.raw()
        stream = client.call(path="/test.Test/Stubborn", extra=[("grpc-timeout", "100m")])
        assert await client.status(stream) == DEADLINE
        assert server.service.cancelled.is_set()


async def test_a_body_that_never_ends_meets_the_deadline() -> None:
    async with running("h2") as server:
        client = await server.raw()
        stream = client.open(extra=[("grpc-timeout", "100m")])
        client.data(stream, message(b"x", length=100), end=False)
        assert await client.status(stream) == DEADLINE


async def test_metadata_over_the_limit_is_refused() -> None:
    async with running("h2") as server:
        client = await server.raw()
        assert await client.status(client.call(extra=[("x-big", "a" * 15_000)])) == OK
        many = [(f"x-{n}", "v" * 100) for n in range(130)]
        assert await client.status(client.call(extra=many)) == EXHAUSTED
        assert await client.status(client.call()) == OK


async def test_answers_are_compressed_only_when_asked_and_configured() -> None:
    async with running("h2", compress_min_bytes=100) as server:
        client = await server.raw()
        accepts = [("grpc-accept-encoding", "identity,deflate,gzip")]
        small = client.call(b"x", extra=accepts)
        large = client.call(bytes(10_000), extra=accepts)
        plain = client.call(bytes(10_000))
        for stream in (small, large, plain):
            assert await client.status(stream) == OK
        assert dict(client.fields[large])["grpc-encoding"] == "gzip"
        assert client.body(large)[:1] == b"\x01"
        assert len(client.body(large)) < 200
        for stream in (small, plain):
            assert "grpc-encoding" not in dict(client.fields[stream])
            assert client.body(stream)[:1] == b"\x00"


async def test_a_slow_body_is_given_up() -> None:
    async with running("h2", Limits(body_s=0.6)) as server:
        client = await server.raw()
        stream = client.open()
        for _ in range(5):
            client.data(stream, b"\x00", end=False)
            await client.flush()
            await asyncio.sleep(0.1)
        assert await client.status(stream) == DEADLINE


async def test_the_budget_of_unfinished_bytes_holds_for_all_calls_together() -> None:
    async with running("h2", Limits(max_buffered_bytes=100_000)) as server:
        client = await server.raw()
        half = message(bytes(60_000), length=61_000)
        held = client.open()
        for start in range(0, len(half), 15_000):
            client.data(held, half[start : start + 15_000], end=False)
        refused = client.open()
        for start in range(0, len(half), 15_000):
            client.data(refused, half[start : start + 15_000], end=False)
        assert await client.status(refused) == EXHAUSTED
        client.data(held, bytes(1000))
        assert await client.status(held) == OK
        again = client.open()
        for start in range(0, 60_000, 15_000):
            client.data(again, message(bytes(59_995))[start : start + 15_000], end=start == 45_000)
        assert await client.status(again) == OK


async def test_an_optional_certificate_may_be_left_out(tmp_path: Path) -> None:
    ca = Authority("ca")
    client_ca = Authority("clients").write(tmp_path, "clients")
    async with running("h2", tls=ServerTls(*ca.issue(tmp_path, "server"), client_ca)) as server:
        credentials = grpc.ssl_channel_credentials(ca.pem())
        async with grpc.aio.secure_channel(f"localhost:{server.port}", credentials) as ch:
            assert await ch.unary_unary("/test.Test/Echo")(b"hi", timeout=5) == b"hi"
        assert server.service.heads[0].certificate == b""


async def test_a_peer_that_says_goodbye_is_heard_out_and_then_closed() -> None:
    async with running("h2") as server:
        client = await server.raw()
        assert await client.status(client.call()) == OK
        client.frame(GoAwayFrame(0, last_stream_id=0, error_code=255))
        await client.until(lambda: any(isinstance(frame, GoAwayFrame) for frame in client.frames))
        client.frame(PingFrame(0, b"goodbye!"))  # our end is not closed under it: that would be a reset
        await client.until(lambda: any(isinstance(frame, PingFrame) for frame in client.frames))
        await client.until(client.closed.is_set, timeout=20)
