"""Calls by a real client (grpc.aio) over every transport: what is served, refused, measured and cancelled."""

from __future__ import annotations

import asyncio
import time

import grpc
import grpc.aio
import pytest
from echo_service import DENIED
from transports import KINDS, Running, running

from gateway.transport.seam import Limits

pytestmark = pytest.mark.parametrize("kind", list(KINDS))


def channel(server: Running, *options: tuple[str, int]) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options)


async def failure(call: grpc.aio.UnaryUnaryCall) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_an_answer_carries_its_trailers(kind: str) -> None:
    async with running(kind) as server, channel(server) as ch:
        call = ch.unary_unary("/test.Test/Echo")(b"hello")
        assert await call == b"hello"
        trailers = dict(await call.trailing_metadata())
        assert {"x-id": "shard/1", "x-raw-bin": b"\x00\xff\x10"}.items() <= trailers.items()


@pytest.mark.parametrize("size", [0, 1, 16379, 16380, 1_000_003, 5_000_000])
async def test_messages_of_any_size_pass_unchanged(kind: str, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    big = (("grpc.max_receive_message_length", -1),)
    async with running(kind) as server, channel(server, *big) as ch:
        assert await ch.unary_unary("/test.Test/Echo")(body) == body


async def test_the_head_holds_what_the_caller_sent_and_nothing_of_the_transport(kind: str) -> None:
    async with running(kind) as server, channel(server) as ch:
        sent = (("authorization", "Bearer k"), ("x-two", "a"), ("x-two", "b"), ("x-raw-bin", b"\x00\x01\xfe"))
        before = time.monotonic_ns()
        await ch.unary_unary("/test.Test/Echo")(b"", metadata=sent, timeout=7)
        (head,) = server.service.heads
    assert head.method == "test.Test/Echo"
    assert head.peer == "127.0.0.1"
    assert head.certificate == b""
    assert head.deadline_ns is not None
    assert before + 6_000_000_000 < head.deadline_ns < before + 8_000_000_000
    assert [pair for pair in head.metadata if pair[0] != "user-agent"] == [
        ("authorization", b"Bearer k"),
        ("x-two", b"a"),
        ("x-two", b"b"),
        ("x-raw-bin", b"\x00\x01\xfe"),
    ]


async def test_no_timeout_means_no_deadline(kind: str) -> None:
    async with running(kind) as server, channel(server) as ch:
        await ch.unary_unary("/test.Test/Echo")(b"")
        assert server.service.heads[0].deadline_ns is None


async def test_the_peer_of_an_ipv6_caller_is_canonical(kind: str) -> None:
    async with (
        running(kind, host="::1") as server,
        grpc.aio.insecure_channel(f"[::1]:{server.port}") as ch,
    ):
        await ch.unary_unary("/test.Test/Echo")(b"")
        assert server.service.heads[0].peer == "::1"


async def test_a_refusal_keeps_code_text_trailers_and_details(kind: str) -> None:
    async with running(kind) as server, channel(server) as ch:
        error = await failure(ch.unary_unary("/test.Test/Deny")(b""))
    assert error.code() == grpc.StatusCode.PERMISSION_DENIED
    assert error.details() == DENIED.message
    trailers = dict(error.trailing_metadata())
    assert trailers["x-why"] == "rule"
    assert trailers["x-raw-bin"] == b"\x00\xff"
    assert trailers["grpc-status-details-bin"] == DENIED.details


@pytest.mark.parametrize("path", ["/test.Test/Fail", "/test.Test/Chat"])
async def test_a_bug_is_internal_and_tells_nothing(kind: str, path: str, caplog: pytest.LogCaptureFixture) -> None:
    async with running(kind) as server, channel(server) as ch:
        if path.endswith("Chat"):
            call = ch.stream_stream(path)(iter([b"fail"]))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            error = caught.value
        else:
            error = await failure(ch.unary_unary(path)(b""))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert error.details() == "internal error"
    assert "secret" in caplog.text  # the log has it


async def test_a_text_too_long_for_a_status_is_cut(kind: str) -> None:
    async with running(kind) as server, channel(server) as ch:
        error = await failure(ch.unary_unary("/test.Test/Verbose")(b"", timeout=5))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert error.details() == "ü" * 600 + "..."


@pytest.mark.parametrize("body", [b"answer", b"refuse", b"body"])
async def test_trailers_that_cannot_be_sent_are_our_bug(kind: str, body: bytes) -> None:
    async with running(kind) as server, channel(server) as ch:
        error = await failure(ch.unary_unary("/test.Test/Unsendable")(body, timeout=5))
        assert error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
        assert "line" not in (error.details() or "")


@pytest.mark.parametrize("path", ["/test.Test/None", "/other.Service/Echo", "/"])
async def test_an_unknown_method_is_unimplemented(kind: str, path: str) -> None:
    async with running(kind) as server, channel(server) as ch:
        assert (await failure(ch.unary_unary(path)(b""))).code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_over_the_limit_is_refused(kind: str) -> None:
    async with running(kind, Limits(max_message_bytes=1000)) as server, channel(server) as ch:
        assert await ch.unary_unary("/test.Test/Echo")(bytes(1000)) == bytes(1000)
        for size in (1001, 3_000_000):
            error = await failure(ch.unary_unary("/test.Test/Echo")(bytes(size)))
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await ch.unary_unary("/test.Test/Echo")(b"still here") == b"still here"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests_are_read_and_bounded(kind: str, compression: grpc.Compression) -> None:
    limits = Limits(max_message_bytes=100_000)
    async with running(kind, limits) as server, channel(server) as ch:
        echo = ch.unary_unary("/test.Test/Echo")
        assert await echo(bytes(100_000), compression=compression) == bytes(100_000)
        bomb = await failure(echo(bytes(5_000_000), compression=compression))
        assert bomb.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_deadline_stops_the_handler(kind: str) -> None:
    async with running(kind) as server, channel(server) as ch:
        error = await failure(ch.unary_unary("/test.Test/Wait")(b"", timeout=0.2))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(server.service.cancelled.wait(), 2)


async def test_hanging_up_stops_the_handler(kind: str) -> None:
    async with running(kind) as server, channel(server) as ch:
        call = ch.unary_unary("/test.Test/Wait")(b"", timeout=30)
        await asyncio.wait_for(server.service.started.wait(), 2)
        call.cancel()
        await asyncio.wait_for(server.service.cancelled.wait(), 2)
        assert server.service.running == 0
        assert server.service.heads[0].deadline_ns is not None
        assert server.service.heads[0].deadline_ns > time.monotonic_ns()  # how a handler tells the two apart


async def test_losing_the_connection_stops_every_handler(kind: str) -> None:
    async with running(kind) as server:
        async with channel(server) as ch:
            calls = [ch.unary_unary("/test.Test/Wait")(b"") for _ in range(5)]
            while server.service.running < 5:
                await asyncio.sleep(0.01)
        while server.service.running:
            await asyncio.sleep(0.01)
        await asyncio.gather(*calls, return_exceptions=True)


async def test_calls_on_one_connection_overtake_each_other(kind: str) -> None:
    async with running(kind) as server, channel(server) as ch:
        slow = ch.unary_unary("/test.Test/Wait")(b"")
        await asyncio.wait_for(server.service.started.wait(), 2)
        many = await asyncio.gather(*(ch.unary_unary("/test.Test/Echo")(b"%d" % n) for n in range(150)))
        assert many == [b"%d" % n for n in range(150)]
        server.service.release.set()
        assert await slow == b"released"
