"""Malformed and hostile requests, frame by frame, over every transport: the right status, or a clean end.

Codes are compared, not texts: grpcio answers most of these itself.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import zlib

import grpc
import pytest
from raw_client import PREFACE, message
from transports import KINDS, Running, running

from gateway.transport.seam import Limits

pytestmark = pytest.mark.parametrize("kind", list(KINDS))

INTERNAL, UNIMPLEMENTED, EXHAUSTED = 13, 12, 8


async def serves_still(server: Running) -> None:
    """A fresh client is served: whatever happened harmed nobody else."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as ch:
        assert await asyncio.wait_for(ch.unary_unary("/test.Test/Echo")(b"fine"), 5) == b"fine"


async def test_a_plain_call(kind: str) -> None:
    async with running(kind) as server:
        client = await server.raw()
        stream = client.call(b"hi")
        assert await client.status(stream) == 0
        assert client.body(stream) == message(b"hi")
        fields = dict(client.fields[stream])
        assert fields[":status"] == "200"
        assert fields["content-type"].startswith("application/grpc")
        assert base64.b64decode(fields["x-raw-bin"] + "==") == b"\x00\xff\x10"


@pytest.mark.parametrize("cut", [1, 4, 5, 6, 7])
async def test_frames_need_not_align_with_data_frames(kind: str, cut: int) -> None:
    async with running(kind) as server:
        client = await server.raw()
        stream = client.open()
        whole = message(b"hello")
        client.data(stream, whole[:cut], end=False)
        client.data(stream, b"", end=False)
        await client.flush()
        await asyncio.sleep(0.02)
        client.data(stream, whole[cut:])
        assert await client.status(stream) == 0
        assert client.body(stream) == whole


async def test_percent_encoding_of_the_status_text(kind: str) -> None:
    async with running(kind) as server:
        client = await server.raw()
        fields = await client.end(client.call(b"", "/test.Test/Deny"))
        assert fields["grpc-status"] == "7"
        assert fields["grpc-message"] == "d%C3%A9nied: 100%25 %0A no"


@pytest.mark.parametrize("value", ["AAH/EA==", "AAH/EA"])
async def test_binary_metadata_padded_or_not(kind: str, value: str) -> None:
    async with running(kind) as server:
        client = await server.raw()
        assert await client.status(client.call(extra=[("x-raw-bin", value)])) == 0
        got = [v for name, v in server.service.heads[0].metadata if name == "x-raw-bin"]
        assert got == [b"\x00\x01\xff\x10"]


async def test_binary_metadata_that_is_not_base64_is_internal(kind: str) -> None:
    async with running(kind) as server:
        client = await server.raw()
        assert await client.status(client.call(extra=[("x-raw-bin", "not base64!")])) == INTERNAL
        assert server.service.heads == []


@pytest.mark.parametrize("value", ["1", "S", "1s", "-1S", "1.5S", "bad"])
async def test_a_malformed_timeout_is_internal(kind: str, value: str) -> None:
    async with running(kind) as server:
        client = await server.raw()
        assert await client.status(client.call(extra=[("grpc-timeout", value)])) == INTERNAL


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_compressed_messages(kind: str, name: str, pack: object) -> None:
    assert callable(pack)
    async with running(kind) as server:
        client = await server.raw()
        stream = client.open(extra=[("grpc-encoding", name)])
        client.data(stream, message(pack(b"hello"), flag=1))
        assert await client.status(stream) == 0
        assert client.body(stream) == message(b"hello")


async def test_an_unknown_encoding_is_unimplemented_and_names_the_known(kind: str) -> None:
    async with running(kind) as server:
        client = await server.raw()
        stream = client.open(extra=[("grpc-encoding", "snappy")])
        client.data(stream, message(b"x", flag=1))
        fields = await client.end(stream)
        assert int(fields["grpc-status"]) in ([UNIMPLEMENTED] if kind != "grpcio" else [UNIMPLEMENTED, INTERNAL])
        if kind != "grpcio":  # grpc core calls it a parse error
            assert {"gzip", "deflate"} == set(fields["grpc-accept-encoding"].replace(" ", "").split(",")) - {"identity"}


@pytest.mark.parametrize("body", [message(b"x", flag=1), message(b"not gzip", flag=1)])
async def test_flags_and_garbage_are_internal(kind: str, body: bytes) -> None:
    async with running(kind) as server:
        client = await server.raw()
        stream = client.open(extra=[("grpc-encoding", "gzip")] if b"gzip" in body else [])
        client.data(stream, body)
        assert await client.status(stream) == INTERNAL
        await serves_still(server)


async def test_four_gigabytes_are_refused_by_their_prefix(kind: str) -> None:
    async with running(kind) as server:
        client = await server.raw()
        stream = client.open()
        client.data(stream, message(b"only this came", length=2**32 - 1), end=False)
        assert await client.status(stream) == EXHAUSTED
        await serves_still(server)


@pytest.mark.parametrize("path", ["/test.Test/Echo", "/test.Test/Chat"])
@pytest.mark.parametrize("body", [b"\x00", b"\x00\x00\x00", message(b"half", length=400)])
async def test_a_truncated_message_is_an_error_not_an_answer(kind: str, path: str, body: bytes) -> None:
    async with running(kind) as server:
        client = await server.raw()
        stream = client.open(path)
        client.data(stream, body)
        if kind != "grpcio":  # grpc core answers only once the caller gives up
            assert await client.status(stream) == INTERNAL
        await asyncio.sleep(0.05)
        assert client.body(stream) == b""
        await serves_still(server)


async def test_a_path_that_is_no_method_is_unimplemented(kind: str) -> None:
    async with running(kind) as server:
        client = await server.raw()
        for path in ("/test.Test/Nope", "/", "/x", "/test.Test/Echo/"):
            assert await client.status(client.call(path=path)) == UNIMPLEMENTED


async def test_streams_over_the_limit_are_refused_one_by_one(kind: str) -> None:
    async with running(kind, Limits(max_streams=4)) as server:
        client = await server.raw()
        held = [client.call(path="/test.Test/Wait") for _ in range(4)]
        await asyncio.wait_for(server.service.started.wait(), 2)
        extra = client.call()
        await client.end(extra)
        refused = client.was_reset(extra) is not None or dict(client.fields[extra])["grpc-status"] != "0"
        assert refused or kind == "grpcio"  # grpc core counts a little late and serves it
        server.service.release.set()
        assert [await client.status(stream) for stream in held] == [0] * 4


async def test_reset_in_the_middle_of_a_message(kind: str) -> None:
    async with running(kind) as server:
        client = await server.raw()
        for _ in range(10):
            stream = client.open()
            client.data(stream, message(b"x", length=1000), end=False)
            await client.flush()
            await asyncio.sleep(0.01)
            client.reset(stream)
        assert await client.status(client.call()) == 0
        assert len(server.service.heads) == 1


@pytest.mark.parametrize(
    "opening",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        PREFACE[:10] + b"nonsense that is longer than a preface",
        bytes(100),
    ],
    ids=["http1", "tls", "broken preface", "zeros"],
)
async def test_whoever_does_not_speak_http2_is_shown_out(kind: str, opening: bytes) -> None:
    async with running(kind) as server:
        client = await server.raw(speak=False)
        client.send(opening)
        try:
            answer = await client.read_raw()
        except ConnectionResetError:
            answer = b""
        if opening.startswith(b"GET") and kind != "grpcio":
            assert answer.startswith(b"HTTP/1.1 505 ")
            assert b"use a gRPC client" in answer
        await serves_still(server)


async def test_a_silent_connection_is_closed(kind: str) -> None:
    async with running(kind, Limits(handshake_s=0.3)) as server:
        client = await server.raw(speak=False)
        await client.read_raw()  # grpcio speaks first; both hang up


async def test_rapid_reset_ends_the_connection_or_is_absorbed(kind: str) -> None:
    async with running(kind) as server:
        client = await server.raw()
        for _ in range(2000):
            stream = client.open(end=False)
            client.reset(stream)
        await client.flush()
        if kind != "grpcio":
            assert (await client.goaway()).error_code == 11  # ENHANCE_YOUR_CALM
        await serves_still(server)


async def test_vanishing_clients_leave_nothing_behind(kind: str) -> None:
    async with running(kind) as server:
        for _ in range(20):
            client = await server.raw()
            client.call(path="/test.Test/Wait")
            client.data(client.open(), message(b"x", length=1000), end=False)
            await client.flush()
            await asyncio.sleep(0.01)
            client.abort()
        while server.service.running:
            await asyncio.sleep(0.01)
        await serves_still(server)
