"""Metadata beyond the limit, field by field: a stated status or the end of the connection, never a call without it."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from hyperframe.frame import ContinuationFrame, GoAwayFrame, HeadersFrame
from raw_client import RawClient, message
from transports import KINDS, Running, running

CALM, RESOURCE_EXHAUSTED = 11, 8
HEAD = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/test.Test/Echo"),
    (b":authority", b"localhost"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
]
SIZES = [17_000, 65_300, 66_000, 100_000, 600_000, 2_000_000]  # about our limit, one frame, the core's own limit
everywhere = pytest.mark.parametrize("kind", list(KINDS))


def literal(name: bytes, value: bytes) -> bytes:
    """A field in HPACK, without an index and without Huffman's code, which is slow in Python."""
    return b"\x00" + length(name) + name + length(value) + value


def length(text: bytes) -> bytes:
    """HPACK's integer with a prefix of seven bits."""
    rest = len(text)
    if rest < 127:
        return bytes([rest])
    out = [127]
    rest -= 127
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    return bytes([*out, rest])


def send(client: RawClient, fields: list[tuple[bytes, bytes]], frame: int) -> int:
    """A call with ``fields`` in one header block, cut into frames of ``frame`` bytes; the stream's id."""
    client._next += 2
    block = b"".join(literal(name, value) for name, value in fields)
    first, *rest = (block[start : start + frame] for start in range(0, len(block), frame))
    client.frame(HeadersFrame(client._next, first, flags=[] if rest else ["END_HEADERS"]))
    for index, part in enumerate(rest):
        last = index == len(rest) - 1
        client.frame(ContinuationFrame(client._next, part, flags=["END_HEADERS"] if last else []))
    client.data(client._next, message(b"hi"))
    return client._next


async def outcome(server: Running, client: RawClient, stream: int) -> tuple[str, int]:
    """How the call ended; the service has not seen it, and serves others."""
    seen = len(server.service.heads)
    fields = await client.end(stream)
    assert len(server.service.heads) == seen
    other = await server.raw()
    assert await other.status(other.call()) == 0
    if "grpc-status" in fields:
        return "status", int(fields["grpc-status"])
    goaways = [frame for frame in client.frames if isinstance(frame, GoAwayFrame)]
    return ("goaway", goaways[0].error_code) if goaways else ("closed", -1)


@everywhere
@pytest.mark.parametrize("settled", [False, True], ids=["fresh", "settled"])
@pytest.mark.parametrize("size", SIZES)
async def test_one_field_of_any_size_is_refused(kind: str, settled: bool, size: int) -> None:
    async with running(kind) as server:
        client = await server.raw()
        if settled:
            assert await client.status(client.call()) == 0
        server.service.heads.clear()
        for fields in ([*HEAD, (b"x-big", b"v" * size)], [*HEAD[:4], (b"x-big", b"v" * size), *HEAD[4:]]):
            if client.closed.is_set():
                break
            stream = send(client, fields, 16_384)
            ended = await outcome(server, client, stream)
            assert ended == ("status", RESOURCE_EXHAUSTED) or (kind != "grpcio" and ended == ("goaway", CALM))
            server.service.heads.clear()


async def test_a_field_that_fills_a_frame_of_ours_does_not_vanish() -> None:
    async with running("h2") as server:
        client = await server.raw()
        assert await client.status(client.call()) == 0
        for size in range(65_000, 65_400, 50):
            stream = send(client, [*HEAD, (b"x-big", b"v" * size)], 65_536)
            assert await outcome(server, client, stream) == ("status", RESOURCE_EXHAUSTED)


async def test_the_end_of_the_connection_says_why() -> None:
    async with running("h2") as server:
        client = await server.raw()
        send(client, [*HEAD, (b"x-big", b"v" * 300_000)], 16_384)
        assert (await client.goaway()).additional_data == b"header_block_too_large"


@everywhere
@pytest.mark.parametrize("size", [20_000, 70_000, 200_000, 1_000_000])
async def test_a_real_client_is_told(kind: str, size: int) -> None:
    async with running(kind) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.RpcError) as refused:
            await channel.unary_unary("/test.Test/Echo")(b"x", metadata=(("x-big", "v" * size),), timeout=20)
        assert server.service.heads == []
        if refused.value.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            # The connection ended under what it still sent; where it noticed that first, it did not read the reason.
            assert kind != "grpcio"
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            said = refused.value.details() or ""
            assert "header_block_too_large" in said or "reset" in said or "Broken pipe" in said, said
