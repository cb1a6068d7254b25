"""The portable transport: grpc.aio with generic handlers. The only file that knows grpc's server.

Bytes go through unparsed. Framing, compression, deadlines, cancellation and the limits are gRPC core's
own; unknown methods never reach this file.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import NoReturn, cast
from urllib.parse import unquote

import grpc
import grpc.aio

from gateway.errors import Code
from gateway.transport.headers import FIELD_OVERHEAD, MAX_DETAILS, OWN_FIELDS, canonical_host, short
from gateway.transport.seam import Answer, Entry, Head, Limits, Metadata, Methods, Refused, Shed, Stream, Unary
from gateway.transport.tls import ServerTls

log = logging.getLogger(__name__)

_STATUS: Mapping[int, grpc.StatusCode] = {status.value[0]: status for status in grpc.StatusCode}
_INTERNAL = "internal error"
_DEFAULT = Limits()
_LAST_WORDS_S = 5.0  # for cancelled handlers to write their records


class GrpcioTransport:
    """Serves a method table with grpc.aio. See ``seam.Transport`` for the contract.

    With ``compress_min_bytes`` answers of any size are compressed for callers who accept it: grpc core knows no
    smallest size.
    """

    def __init__(self, limits: Limits = _DEFAULT, tls: ServerTls | None = None, *, compress_min_bytes: int = 0) -> None:
        self._limits = limits
        self._tls = tls
        self._compression = grpc.Compression.Gzip if compress_min_bytes else grpc.Compression.NoCompression
        self._server: grpc.aio.Server | None = None
        self._tasks: set[asyncio.Task[object]] = set()

    async def start(self, methods: Methods, *, host: str, port: int) -> int:
        """See ``seam.Transport``. Raises: OSError for client certificates asked for, not required."""
        if self._tls is not None and self._tls.asks_without_insisting:
            text = "grpcio cannot ask for a client certificate without requiring it: require it, or use h2"
            raise OSError(errno.EINVAL, text)
        server = grpc.aio.server(options=_options(self._limits), compression=self._compression)
        server.add_generic_rpc_handlers((_Table(methods, self._limits.max_metadata_bytes, self._tasks),))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = (
                server.add_insecure_port(address)
                if self._tls is None
                else server.add_secure_port(address, _credentials(self._tls))
            )
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        await server.start()
        self._server = server
        return bound

    @property
    def waiting(self) -> int:
        return 0  # gRPC core hands over what has come at once

    async def drain(self, *, grace_s: float) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(grace_s)
            if self._tasks:  # cancelled, but still writing their records
                await asyncio.wait(tuple(self._tasks), timeout=_LAST_WORDS_S)


class _Table(grpc.GenericRpcHandler):
    """Finds the handler of a path; None makes grpc answer UNIMPLEMENTED."""

    def __init__(self, methods: Methods, max_metadata: int, tasks: set[asyncio.Task[object]]) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        for name, unary in methods.unary.items():
            call = _UnaryCall(name, unary, methods.shed.get(name), max_metadata, tasks)
            self._handlers[f"/{name}"] = grpc.unary_unary_rpc_method_handler(call.serve)
        for name, stream in methods.stream.items():
            serve = _StreamCall(name, stream, max_metadata, tasks).serve
            self._handlers[f"/{name}"] = grpc.stream_stream_rpc_method_handler(serve)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._handlers.get(handler_call_details.method)


class _UnaryCall:
    def __init__(
        self, name: str, handler: Unary, shed: Shed | None, max_metadata: int, tasks: set[asyncio.Task[object]]
    ) -> None:
        self._name = name
        self._handler = handler
        self._shed = shed
        self._max_metadata = max_metadata
        self._tasks = tasks

    async def serve(self, body: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        entry = Entry.USUAL
        if self._shed is not None:
            turned = self._shed(_peer(context.peer()), len(self._tasks), None)
            if isinstance(turned, Refused):
                await _abort(context, turned)
            entry = turned
        task = _track(self._tasks)
        try:
            answer: Answer = await self._handler(_head(self._name, context, self._max_metadata, entry), body)
        except Refused as refused:
            await _abort(context, refused)
        except Exception:  # what is not ours must not leak
            log.exception("transport.handler_failed", extra={"method": self._name})
            await _abort(context, Refused(Code.INTERNAL, _INTERNAL))
        finally:
            self._tasks.discard(task)
        context.set_trailing_metadata(_outgoing(answer.trailers))
        return answer.body


class _StreamCall:
    def __init__(self, name: str, handler: Stream, max_metadata: int, tasks: set[asyncio.Task[object]]) -> None:
        self._name = name
        self._handler = handler
        self._max_metadata = max_metadata
        self._tasks = tasks

    async def serve(
        self, bodies: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        try:
            head = _head(self._name, context, self._max_metadata, Entry.USUAL)
        except Refused as refused:
            await _abort(context, refused)
        task = _track(self._tasks)
        answers = self._handler(head, bodies)
        try:
            async for answer in answers:
                yield answer
        except Refused as refused:
            await _abort(context, refused)
        except Exception:  # what is not ours must not leak
            log.exception("transport.handler_failed", extra={"method": self._name})
            await _abort(context, Refused(Code.INTERNAL, _INTERNAL))
        finally:
            close = getattr(answers, "aclose", None)
            if close is not None:
                await close()
            self._tasks.discard(task)


def _track(tasks: set[asyncio.Task[object]]) -> asyncio.Task[object]:
    """Add the task that serves this call to ``tasks``."""
    task = cast("asyncio.Task[object]", asyncio.current_task())
    tasks.add(task)
    return task


def _options(limits: Limits) -> list[tuple[str, int]]:
    def ms(seconds: float) -> int:
        return int(seconds * 1000) if seconds > 0 else 2**31 - 1

    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", limits.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.max_metadata_bytes),
        ("grpc.max_concurrent_streams", limits.max_streams),
        ("grpc.server_handshake_timeout_ms", ms(limits.handshake_s)),
        ("grpc.max_connection_idle_ms", ms(limits.idle_s)),
        ("grpc.max_connection_age_ms", ms(limits.max_age_s)),
        ("grpc.max_connection_age_grace_ms", ms(limits.max_age_grace_s)),
        ("grpc.http2.min_ping_interval_without_data_ms", int(limits.min_ping_interval_s * 1000)),
    ]


def _credentials(tls: ServerTls) -> grpc.ServerCredentials:
    def certificates() -> grpc.ServerCertificateConfiguration:
        tls.follow()
        pem = tls.pem()
        return grpc.ssl_server_certificate_configuration([(pem.key, pem.cert)], root_certificates=pem.client_ca)

    return grpc.dynamic_ssl_server_credentials(
        certificates(), lambda: certificates(), require_client_authentication=tls.require_client_cert
    )


def _head(name: str, context: grpc.aio.ServicerContext[bytes, bytes], max_metadata: int, entry: Entry) -> Head:
    metadata = _incoming(context.invocation_metadata() or ())
    # The core holds its own limit only for callers who have acknowledged its settings.
    weight = sum(len(field) + len(value) + FIELD_OVERHEAD for field, value in metadata)
    if weight > max_metadata:
        raise Refused(Code.RESOURCE_EXHAUSTED, f"received metadata larger than max ({weight} vs. {max_metadata})")
    remaining = cast("float | None", context.time_remaining())  # the stub forgets None: no deadline
    return Head(
        method=name,
        metadata=metadata,
        deadline_ns=None if remaining is None else time.monotonic_ns() + int(remaining * 1e9),
        peer=_peer(context.peer()),
        certificate=_certificate(context.auth_context()),
        excess=entry is Entry.EXCESS,
    )


def _incoming(fields: Iterable[tuple[str, str | bytes]]) -> Metadata:
    return tuple(
        (name, value if isinstance(value, bytes) else value.encode("latin-1"))
        for name, value in fields
        if name not in OWN_FIELDS
    )


def _outgoing(trailers: Metadata) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((name, value if name.endswith("-bin") else value.decode("latin-1")) for name, value in trailers)


def _peer(peer: str) -> str:
    kind, _, rest = unquote(peer).partition(":")
    return canonical_host(rest.rpartition(":")[0]) if kind in ("ipv4", "ipv6") else ""


def _certificate(auth: Mapping[str, Iterable[bytes]]) -> bytes:
    for pem in auth.get("x509_pem_cert", ()):
        return ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))
    return b""


async def _abort(context: grpc.aio.ServicerContext[bytes, bytes], refused: Refused) -> NoReturn:
    trailers = _outgoing(refused.trailers)
    if 0 < len(refused.details) <= MAX_DETAILS:
        trailers = (*trailers, ("grpc-status-details-bin", refused.details))
    await context.abort(_STATUS[refused.code], short(refused.message), trailers)
