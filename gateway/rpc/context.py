"""From what a transport hands over before the body to what every call has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import getrandbits
from typing import Literal, TypeAlias

from gateway.transport.seam import Head
from gateway.types import Action, Context, Credentials, TraceContext

Trust: TypeAlias = Literal["always", "authenticated", "never"]
_HEX = frozenset("0123456789abcdef")
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16


@dataclass(frozen=True, slots=True)
class Clocks:
    """``us`` is wall-clock microseconds since 1970, ``ns`` the monotonic clock of deadlines."""

    us: Callable[[], int]
    ns: Callable[[], int]


def context(
    head: Head,
    action: Action,
    clocks: Clocks,
    *,
    allowed: frozenset[str] = frozenset(),
    trust: Trust = "authenticated",
    size: int = 0,
) -> Context:
    """The context of one call (or one message of a stream) of ``action``.

    ``trust`` says whose trace is continued: a stranger's could force sampling and join what is none of his business.
    Who shows no credential is a stranger; one who shows a bad one is refused anyway.

    Of the metadata only credentials, trace context and the names in ``allowed`` are kept; a credential is never
    metadata, even where ``allowed`` names it by mistake: policy would see it, and records keep it. A name that is sent
    twice is joined by a comma, as HTTP does: two credentials are then none that anyone believes.
    """
    found: dict[str, str] = {}
    for name, value in head.metadata:
        if name in _OURS or name in allowed:
            # An empty credential is a bad one, not none: a caller whose key is missing must not become anonymous.
            text = value.decode("latin-1") or (" " if name in _SECRET else "")
            found[name] = f"{found[name]},{text}" if name in found else text
    authorization, api_key = found.get("authorization", ""), found.get("x-api-key", "")
    joins = trust == "always" or (trust == "authenticated" and (authorization or api_key or head.certificate))
    return Context(  # by position: by keyword it takes four times as long
        action,
        trace_context(found.get("traceparent", "") if joins else "", found.get("tracestate", "")),
        Credentials(authorization, api_key, head.certificate),
        clocks.us(),
        clocks.ns(),
        head.peer,
        head.deadline_ns,
        {name: found[name] for name in allowed - _SECRET if name in found} if allowed else {},
        size,
        head.excess,
    )


_SECRET = frozenset({"authorization", "x-api-key"})
_OURS = _SECRET | {"traceparent", "tracestate"}


def trace_context(traceparent: str, tracestate: str = "") -> TraceContext:
    """Our span in the caller's trace, or in a new one if ``traceparent`` is missing or malformed.

    W3C Trace Context level 1: version 00, 55 characters, neither id all zeros.
    """
    ours = span_id()
    if traceparent and len(traceparent) == 55:
        version, trace_id, parent_id, flags = (*traceparent.split("-"), "", "", "")[:4]
        if (
            version == "00"
            and len(trace_id) == 32
            and len(parent_id) == 16
            and len(flags) == 2
            and trace_id != _NO_TRACE
            and parent_id != _NO_SPAN
            and _HEX.issuperset(trace_id + parent_id + flags)
        ):
            return TraceContext(trace_id=trace_id, span_id=ours, parent_id=parent_id, flags=flags, state=tracestate)
    return TraceContext(getrandbits(128).to_bytes(16).hex(), ours)


def span_id() -> str:
    """A new span id: a name, not a secret. All zeros, which would be none, comes once in 2^64 calls."""
    return getrandbits(64).to_bytes(8).hex()
