"""Every transport there is, started with an ``EchoService`` and always drained."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from echo_service import EchoService
from raw_client import RawClient

from gateway.transport.grpcio import GrpcioTransport
from gateway.transport.h2 import H2Transport
from gateway.transport.seam import Limits, Transport
from gateway.transport.tls import ServerTls

WITHOUT_TASKS = "h2 without tasks"
KINDS = {"h2": H2Transport, WITHOUT_TASKS: H2Transport, "grpcio": GrpcioTransport}


@dataclass(frozen=True, slots=True)
class Running:
    """A started transport, its port and its service."""

    transport: Transport
    port: int
    service: EchoService
    clients: list[RawClient] = field(default_factory=list)

    async def raw(self, *, settings: dict[int, int] | None = None, speak: bool = True) -> RawClient:
        """A raw connection, closed at the end whatever happens."""
        client = await RawClient.connect(self.port, settings=settings, speak=speak)
        self.clients.append(client)
        return client


@asynccontextmanager
async def running(
    kind: str,
    limits: Limits | None = None,
    tls: ServerTls | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    compress_min_bytes: int = 0,
) -> AsyncIterator[Running]:
    service = EchoService()
    transport: Transport = KINDS[kind](limits or Limits(), tls, compress_min_bytes=compress_min_bytes)
    methods = service.methods(prompt=kind == WITHOUT_TASKS)
    port = await transport.start(methods, host=host, port=port)
    server = Running(transport, port, service)
    try:
        yield server
    finally:
        service.release.set()
        for client in server.clients:
            await client.close()
        await transport.drain(grace_s=0.2)
