"""A gateway as a client sees it: calls by name, answers with what may be quoted, refusals with their reasons."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError, Message

from gateway.v1.rpc_status import ErrorInfo, Status

M = TypeVar("M", bound=Message)

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass(frozen=True, slots=True)
class Quotes:
    """Ids from the trailing metadata, "" where the gateway sent none; the outputs that are masked, and the codes of
    a denial that was only a warning."""

    prediction_id: str = ""
    decision_id: str = ""
    trace_id: str = ""
    masked: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Refusal(Exception):
    """An answer other than OK. ``reasons`` are the policy's codes, the first one deciding; ``hint`` is our own
    advice on what to do, "" for none."""

    def __init__(
        self, code: str, message: str, reasons: tuple[str, ...] = (), quotes: Quotes = Quotes(), hint: str = ""
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.reasons = reasons
        self.quotes = quotes
        self.hint = hint


class BadTarget(ValueError):
    """What was given is no address; the text says how to write one."""


class Unreachable(Exception):
    """No gateway answered; the text says what was tried, and what to look at. ``code`` is gRPC's name of it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


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
        """A channel to it. Raises: BadTarget; OSError when a certificate file cannot be read."""
        if "://" in self.url:
            raise BadTarget(f"{self.url} has a scheme; write HOST:PORT without one, such as localhost:8001")
        if ":" not in self.url:
            raise BadTarget(f"{self.url!r} has no port; write HOST:PORT, such as localhost:8001")
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines would stand before the message we print
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
        """The answer of ``Service/Method``. Raises: Refusal, Unreachable."""
        key = self._target.key
        metadata = (("authorization", f"Bearer {key}"),) if key else ()
        invoke = self._channel.unary_unary(
            f"/{method}", request_serializer=type(request).SerializeToString, response_deserializer=answer.FromString
        )
        try:
            response, call = invoke.with_call(request, timeout=self._target.timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            raise self._ending(error) from None
        return response, _quotes(_pairs(call.trailing_metadata()))

    def _ending(self, error: grpc.RpcError) -> Refusal | Unreachable:
        """What ``error`` was: a gateway's refusals have details, what gRPC says by itself has none."""
        trailers = _pairs(error.trailing_metadata())
        details = trailers.get("grpc-status-details-bin", b"")
        code, message = error.code().name, error.details() or ""
        if not details and code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            return Unreachable(code, diagnosis(self._target, code, message))
        unproved = code == "UNAUTHENTICATED" and not self._target.key
        hint = "no key was sent: set GATEWAY_KEY or give --key KEY" if unproved else ""
        return Refusal(code, message, _reasons(details), _quotes(trailers), hint)


def diagnosis(target: Target, code: str, message: str) -> str:
    """gRPC's words in those of somebody who has typed a command."""
    url, secure = target.url, bool(target.tls or target.ca or target.cert)
    if code == "DEADLINE_EXCEEDED":
        return f"no answer from {url} within {target.timeout_s:g} s; is it a gateway, or should --timeout be longer?"
    if "Connection refused" in message:
        return f"connection refused: is the gateway running at {url}?"
    if secure and ("WRONG_VERSION_NUMBER" in message or "Handshake read failed" in message):
        return f"{url} did not answer in TLS: leave out --tls, --ca and --cert, or give the port that speaks it"
    if secure and "CERTIFICATE_VERIFY_FAILED" in message:
        cause = message.partition("CERTIFICATE_VERIFY_FAILED")[2].strip(": ").removesuffix(": OK")
        return f"the certificate of {url} is not trusted ({cause}): give its authority with --ca PEM"
    if secure and "Hostname Verification" in message:
        return f"the certificate of {url} is for another host name: call it by the name that its certificate has"
    if not secure and "Socket closed" in message:
        return f"{url} closed the connection: if it speaks TLS, add --tls or --ca PEM"
    if "errors resolving" in message or "lookup failed" in message:
        return f"no such host: {url}; write HOST:PORT, such as localhost:8001"
    advice = "" if secure else "; if it speaks TLS, add --tls or --ca PEM"
    return f"no gateway answers at {url}: {message}{advice}"


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
    prediction, decision, trace = (
        str(trailers.get(f"gateway-{n}-id", "")) for n in ("prediction", "decision", "trace")
    )
    masked = tuple(unquote(name) for name in _listed(trailers, "gateway-masked"))
    return Quotes(prediction, decision, trace, masked, _listed(trailers, "x-policy-warning"))


def _listed(trailers: Mapping[str, str | bytes], name: str) -> tuple[str, ...]:
    return tuple(filter(None, str(trailers.get(name, "")).split(",")))
