"""A gateway as a client sees it: calls by name, answers with what may be quoted, refusals with their reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from gateway.v1.rpc_status import ErrorInfo, Status

M = TypeVar("M", bound=Message)

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass(frozen=True, slots=True)
class Quotes:
    """Ids from the trailing metadata, "" where the gateway sent none."""

    prediction_id: str = ""
    decision_id: str = ""
    trace_id: str = ""


class Refusal(Exception):
    """An answer other than OK. ``reasons`` are the policy's codes, the first one deciding."""

    def __init__(self, code: str, message: str, reasons: tuple[str, ...] = (), quotes: Quotes = Quotes()) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.reasons = reasons
        self.quotes = quotes


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where and as whom to call. ``ca`` (PEM) or ``tls`` asks for TLS, ``cert`` and ``cert_key`` for mTLS."""

    url: str = "localhost:8001"
    key: str = ""
    timeout_s: float = 10.0
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    cert_key: Path | None = None

    def channel(self) -> grpc.Channel:
        """A channel to it. Raises: OSError when a certificate file cannot be read."""
        if not (self.tls or self.ca or self.cert):
            return grpc.insecure_channel(self.url, _UNLIMITED)
        ca, key, cert = (path.read_bytes() if path else None for path in (self.ca, self.cert_key, self.cert))
        return grpc.secure_channel(self.url, grpc.ssl_channel_credentials(ca, key, cert), _UNLIMITED)


class Connection:
    """Calls to one target, for a ``with`` block."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._channel = target.channel()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._channel.close()

    def call(self, method: str, request: Message, answer: type[M]) -> tuple[M, Quotes]:
        """The answer of ``Service/Method``. Raises: Refusal."""
        key = self._target.key
        metadata = (("authorization", f"Bearer {key}"),) if key else ()
        invoke = self._channel.unary_unary(
            f"/{method}", request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        try:
            response, call = invoke.with_call(request, timeout=self._target.timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            raise _refusal(error) from None
        return response, _quotes(_pairs(call.trailing_metadata()))


def _refusal(error: grpc.RpcError) -> Refusal:
    trailers = _pairs(error.trailing_metadata())
    details = trailers.get("grpc-status-details-bin", b"")
    return Refusal(error.code().name, error.details() or "", _reasons(details), _quotes(trailers))


def _reasons(details: str | bytes) -> tuple[str, ...]:
    if not isinstance(details, bytes):
        return ()
    try:
        status = Status.FromString(details)
    except DecodeError:
        return ()
    info = ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            several = info.metadata.get("reasons", info.reason)
            return tuple(several.split(","))
    return ()


def _pairs(metadata: object) -> Mapping[str, str | bytes]:
    return dict(metadata) if isinstance(metadata, tuple | list) else {}


def _quotes(trailers: Mapping[str, str | bytes]) -> Quotes:
    return Quotes(*(str(trailers.get(f"gateway-{name}-id", "")) for name in ("prediction", "decision", "trace")))
