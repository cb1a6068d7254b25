"""TLS and mTLS with ALPN over every transport, and certificates that change while it serves."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import grpc
import grpc.aio
import pytest
from certificates import Authority
from echo_service import EchoService
from transports import KINDS, running

from gateway.transport.grpcio import GrpcioTransport
from gateway.transport.seam import Limits
from gateway.transport.tls import ServerTls

pytestmark = pytest.mark.parametrize("kind", list(KINDS))


async def echo(port: int, credentials: grpc.ChannelCredentials) -> bytes:
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as ch:
        return bytes(await ch.unary_unary("/test.Test/Echo")(b"hi", timeout=5))


async def test_calls_over_tls(kind: str, tmp_path: Path) -> None:
    ca = Authority("ca")
    async with running(kind, tls=ServerTls(*ca.issue(tmp_path, "server"))) as server:
        assert await echo(server.port, grpc.ssl_channel_credentials(ca.pem())) == b"hi"
        assert server.service.heads[0].certificate == b""


async def test_alpn_is_h2(kind: str, tmp_path: Path) -> None:
    ca = Authority("ca")
    async with running(kind, tls=ServerTls(*ca.issue(tmp_path, "server"))) as server:
        context = ssl.create_default_context(cadata=ca.pem().decode())
        context.set_alpn_protocols(["http/1.1", "h2"])
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname="localhost")
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_a_plain_client_is_shown_out(kind: str, tmp_path: Path) -> None:
    ca = Authority("ca")
    async with running(kind, tls=ServerTls(*ca.issue(tmp_path, "server"))) as server:
        client = await server.raw(speak=False)
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert b"HTTP" not in await client.read_raw()
        assert await echo(server.port, grpc.ssl_channel_credentials(ca.pem())) == b"hi"


@pytest.mark.parametrize("required", [True, False])
async def test_a_clients_certificate_reaches_the_handler(kind: str, required: bool, tmp_path: Path) -> None:
    ca, clients = Authority("ca"), Authority("clients")
    client_ca = clients.write(tmp_path, "clients")
    cert, key = clients.issue(tmp_path, "client")
    tls = ServerTls(*ca.issue(tmp_path, "server"), client_ca, required)
    if kind == "grpcio" and not required:
        with pytest.raises(OSError, match="require"):
            await GrpcioTransport(tls=tls).start(EchoService().methods(), host="127.0.0.1", port=0)
        return
    async with running(kind, tls=tls) as server:
        mutual = grpc.ssl_channel_credentials(ca.pem(), key.read_bytes(), cert.read_bytes())
        assert await echo(server.port, mutual) == b"hi"
        assert server.service.heads[0].certificate == ssl.PEM_cert_to_DER_cert(cert.read_text())


async def test_without_a_certificate_where_one_is_required(kind: str, tmp_path: Path) -> None:
    ca = Authority("ca")
    client_ca = Authority("clients").write(tmp_path, "clients")
    async with running(kind, tls=ServerTls(*ca.issue(tmp_path, "server"), client_ca, True)) as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo(server.port, grpc.ssl_channel_credentials(ca.pem()))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert server.service.heads == []


async def test_a_strangers_certificate_is_never_taken_for_a_proof(kind: str, tmp_path: Path) -> None:
    ca, stranger = Authority("ca"), Authority("stranger")
    client_ca = Authority("clients").write(tmp_path, "clients")
    cert, key = stranger.issue(tmp_path, "stranger")
    required = kind == "grpcio"  # h2 may ask without insisting
    async with running(kind, tls=ServerTls(*ca.issue(tmp_path, "server"), client_ca, required)) as server:
        foreign = grpc.ssl_channel_credentials(ca.pem(), key.read_bytes(), cert.read_bytes())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo(server.port, foreign)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert server.service.heads == []


async def test_new_connections_see_the_new_certificate_and_old_ones_live_on(kind: str, tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    tls = ServerTls(*old.issue(tmp_path, "server"))
    async with running(kind, tls=tls) as server:
        credentials = grpc.ssl_channel_credentials(old.pem())
        async with grpc.aio.secure_channel(f"localhost:{server.port}", credentials) as standing:
            call = standing.unary_unary("/test.Test/Echo")
            assert await call(b"before") == b"before"
            new.issue(tmp_path, "server")
            tls.reload()
            assert await echo(server.port, grpc.ssl_channel_credentials(new.pem())) == b"hi"
            with pytest.raises(grpc.aio.AioRpcError):
                await echo(server.port, grpc.ssl_channel_credentials(old.pem()))
            assert await call(b"after") == b"after"


async def test_files_that_change_are_followed(kind: str, tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    async with running(kind, tls=ServerTls(*old.issue(tmp_path, "server"))) as server:
        assert await echo(server.port, grpc.ssl_channel_credentials(old.pem())) == b"hi"
        new.issue(tmp_path, "server")
        await asyncio.sleep(1)
        assert await echo(server.port, grpc.ssl_channel_credentials(new.pem())) == b"hi"


async def test_a_client_ca_that_left_the_file_is_not_trusted_any_more(kind: str, tmp_path: Path) -> None:
    ca, first, second = Authority("ca"), Authority("first"), Authority("second")
    client_ca = first.write(tmp_path, "clients")
    tls = ServerTls(*ca.issue(tmp_path, "server"), client_ca, True)
    (cert, key), (cert2, key2) = first.issue(tmp_path, "one"), second.issue(tmp_path, "two")
    one = grpc.ssl_channel_credentials(ca.pem(), key.read_bytes(), cert.read_bytes())
    two = grpc.ssl_channel_credentials(ca.pem(), key2.read_bytes(), cert2.read_bytes())
    async with running(kind, tls=tls) as server:
        assert await echo(server.port, one) == b"hi"
        client_ca.write_bytes(second.pem())
        tls.reload()
        assert await echo(server.port, two) == b"hi"
        with pytest.raises(grpc.aio.AioRpcError):
            await echo(server.port, one)


async def test_a_handshake_that_stalls_is_ended(kind: str, tmp_path: Path) -> None:
    ca = Authority("ca")
    tls = ServerTls(*ca.issue(tmp_path, "server"))
    async with running(kind, Limits(handshake_s=0.3), tls=tls) as server:
        client = await server.raw(speak=False)
        await client.read_raw()
