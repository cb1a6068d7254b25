"""Where grpc core does otherwise than ``h2``: what docs/transport.md says of it, so that it stays true."""

from __future__ import annotations

import pytest
from raw_client import message
from transports import running


async def test_binary_values_joined_by_commas_are_not_split() -> None:
    async with running("grpcio") as server:
        client = await server.raw()
        assert await client.status(client.call(extra=[("x-raw-bin", "AAH/EA==,AAE=")])) == 13


async def test_an_unknown_encoding_is_internal() -> None:
    async with running("grpcio") as server:
        client = await server.raw()
        stream = client.open(extra=[("grpc-encoding", "snappy")])
        client.data(stream, message(b"x", flag=1))
        assert await client.status(stream) == 13


async def test_a_cut_message_gets_no_status() -> None:
    async with running("grpcio") as server:
        client = await server.raw()
        stream = client.open()
        client.data(stream, message(b"half", length=400))
        with pytest.raises(TimeoutError):
            await client.until(lambda: stream in client.fields, 0.3)
        assert server.service.heads == []


@pytest.mark.parametrize("content_type", ["text/plain", ""])
async def test_the_content_type_is_not_looked_at(content_type: str) -> None:
    async with running("grpcio") as server:
        client = await server.raw()
        stream = client.open(content_type=content_type)
        client.data(stream, message(b"x"))
        assert await client.status(stream) == 0


async def test_another_method_is_reset() -> None:
    async with running("grpcio") as server:
        client = await server.raw()
        stream = client.open(method="GET", end=True)
        await client.end(stream)
        assert client.was_reset(stream) is not None
        assert server.service.heads == []
