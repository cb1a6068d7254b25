"""What a call's header fields say, read in one pass. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gateway.errors import Code
from gateway.transport import compression
from gateway.transport.deadline import timeout_ns
from gateway.transport.headers import FIELD_OVERHEAD, OWN_FIELDS, binary_values
from gateway.transport.seam import Metadata, Refused

_GRPC = b"application/grpc"


class Fields(NamedTuple):
    """A call's header fields: ``metadata`` is the caller's, the rest is the transport's.

    ``timeout_ns`` is None without ``grpc-timeout``. ``encoding`` names how compressed messages come,
    ``accepted`` is the raw ``grpc-accept-encoding``.
    """

    metadata: Metadata
    timeout_ns: int | None
    encoding: bytes | None
    accepted: bytes | None


def is_grpc(content_type: bytes | None) -> bool:
    """True for ``application/grpc`` and its variants such as ``application/grpc+proto``."""
    if content_type is None or not content_type.startswith(_GRPC):
        return False
    return content_type[len(_GRPC) : len(_GRPC) + 1] in (b"", b"+", b";", b" ")


def read(items: Iterable[tuple[str, bytes]], max_bytes: int) -> Fields:
    """Sort header fields (lower-case names) into metadata and our own.

    Raises: Refused with RESOURCE_EXHAUSTED when they weigh more than ``max_bytes`` (name, value and 32 each,
    RFC 9113), UNIMPLEMENTED for an encoding that we cannot read (with ``grpc-accept-encoding``), INTERNAL for a
    malformed ``grpc-timeout`` or a ``-bin`` value that is not base64.
    """
    weight = 0
    timeout = encoding = accepted = None
    kept: list[tuple[str, bytes]] = []
    for field in items:
        name, value = field
        weight += len(name) + len(value) + FIELD_OVERHEAD
        if name not in OWN_FIELDS:
            if name[-4:] == "-bin":
                kept.extend(binary_values(name, value))
            else:
                kept.append(field)
        elif name == "grpc-timeout":
            timeout = _timeout(value)
        elif name == "grpc-encoding":
            encoding = value
        elif name == "grpc-accept-encoding":
            accepted = value
    if weight > max_bytes:
        raise Refused(Code.RESOURCE_EXHAUSTED, f"received metadata larger than max ({weight} vs. {max_bytes})")
    if encoding is not None and not compression.is_known(encoding):
        raise _unknown(encoding)
    return Fields(tuple(kept), timeout, encoding, accepted)


def patience_ns(timeout: bytes | None) -> int | None:
    """How long a caller with this ``grpc-timeout`` will wait, in nanoseconds; None if he does not say, or not so that
    it can be read."""
    if timeout is None:
        return None
    try:
        return timeout_ns(timeout)
    except ValueError:
        return None


def _timeout(value: bytes) -> int:
    try:
        return timeout_ns(value)
    except ValueError as error:
        raise Refused(Code.INTERNAL, str(error)) from error


def _unknown(encoding: bytes) -> Refused:
    name = encoding[:32].decode("ascii", "replace")
    return Refused(
        Code.UNIMPLEMENTED,
        f"grpc-encoding {name!r} is not supported: send one of {compression.ACCEPTED}",
        (("grpc-accept-encoding", compression.ACCEPTED.encode()),),
    )
