"""Another language's client (grpc-go, through grpcurl) over every transport."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from certificates import Authority
from tools import run, tool
from transports import KINDS, running

from gateway.transport.tls import ServerTls

pytestmark = pytest.mark.parametrize("kind", list(KINDS))

PROTO = """syntax = "proto3";
package test;
message Blob { bytes body = 1; }
service Test {
  rpc Echo(Blob) returns (Blob);
  rpc Deny(Blob) returns (Blob);
  rpc Wait(Blob) returns (Blob);
  rpc Missing(Blob) returns (Blob);
  rpc Chat(stream Blob) returns (stream Blob);
}
"""


async def call(folder: Path, port: int, method: str, *options: str, body: bytes = b"hi") -> tuple[int, str, str]:
    (folder / "test.proto").write_text(PROTO)
    data = json.dumps({"body": base64.b64encode(body).decode()})
    command = [tool("grpcurl"), "-import-path", str(folder), "-proto", "test.proto", "-d", data, "-v"]
    command += [] if "-cacert" in options else ["-plaintext"]
    return await run(*command, *options, f"localhost:{port}", f"test.Test/{method}")


async def test_an_answer_with_its_trailers(kind: str, tmp_path: Path) -> None:
    async with running(kind) as server:
        status, out, err = await call(tmp_path, server.port, "Echo", "-H", "x-raw-bin: AAH/EA==")
        assert status == 0, err
        assert base64.b64encode(b"hi").decode() in out
        assert "x-id: shard/1" in out
        assert dict(server.service.heads[0].metadata)["x-raw-bin"] == b"\x00\x01\xff\x10"


async def test_a_large_message_both_ways(kind: str, tmp_path: Path) -> None:
    async with running(kind) as server:
        options = ("-max-msg-sz", "4000000")
        status, out, err = await call(tmp_path, server.port, "Echo", *options, body=bytes(60_000))
        assert status == 0, err
        assert base64.b64encode(bytes(60_000)).decode() in out


async def test_a_stream(kind: str, tmp_path: Path) -> None:
    async with running(kind) as server:
        status, out, err = await call(tmp_path, server.port, "Chat")
        assert status == 0, err
        assert base64.b64encode(b"hi").decode() in out


async def test_a_refusal(kind: str, tmp_path: Path) -> None:
    async with running(kind) as server:
        status, out, err = await call(tmp_path, server.port, "Deny")
        assert status == 64 + 7
        assert "Code: PermissionDenied" in err
        assert "dénied: 100%" in err
        assert "x-why: rule" in out


async def test_a_deadline(kind: str, tmp_path: Path) -> None:
    async with running(kind) as server:
        status, _, err = await call(tmp_path, server.port, "Wait", "-max-time", "0.3")
        assert status == 64 + 4
        assert "Code: DeadlineExceeded" in err


async def test_an_unknown_method(kind: str, tmp_path: Path) -> None:
    async with running(kind) as server:
        status, _, err = await call(tmp_path, server.port, "Missing")
        assert status == 64 + 12
        assert "Code: Unimplemented" in err


async def test_mutual_tls(kind: str, tmp_path: Path) -> None:
    ca, clients = Authority("ca"), Authority("clients")
    tls = ServerTls(*ca.issue(tmp_path, "server"), clients.write(tmp_path, "clients"), True)
    cert, key = clients.issue(tmp_path, "client")
    mutual = ("-cacert", str(ca.write(tmp_path, "ca")), "-cert", str(cert), "-key", str(key))
    async with running(kind, tls=tls) as server:
        status, _, err = await call(tmp_path, server.port, "Echo", *mutual)
        assert status == 0, err
        assert server.service.heads[0].certificate
