"""An echo server for ``transport.py``: the seam with nothing behind it, or httpunk's own driver with nothing above.

python bench/echo.py bare|h2|grpcio
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httpunk.asyncio
import uvloop

from gateway.transport.grpcio import GrpcioTransport
from gateway.transport.h2 import H2Transport
from gateway.transport.seam import Answer, Head, Methods

METHOD = "inference.GRPCInferenceService/ModelInfer"
TRAILERS = (("gateway-prediction-id", b"0/123456"), ("gateway-trace-id", b"4bf92f3577b34da6a3ce929d0e0e4736"))
HOST = "127.0.0.1"


class Bare(httpunk.asyncio.H2ServerProtocol):
    """Read the body, send it back: no gRPC, no metadata, no deadline."""

    async def handle(self, request: Any) -> None:
        body = await request.read()
        head, tail = {"content-type": "application/grpc"}, {"grpc-status": "0"}
        await request.respond(200, headers=head, body=body, trailers=tail)


async def echo(head: Head, body: bytes) -> Answer:
    return Answer(body, TRAILERS)


async def serve(kind: str) -> None:
    if kind == "bare":
        server = await asyncio.get_running_loop().create_server(Bare, HOST, 0)
        port = server.sockets[0].getsockname()[1]
    else:
        transport = {"h2": H2Transport, "grpcio": GrpcioTransport}[kind]()
        port = await transport.start(Methods(unary={METHOD: echo}), host=HOST, port=0)
    print(f"ready on {HOST}:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
