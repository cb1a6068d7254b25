"""Message compression: gzip and deflate (zlib format), with a bound on what a message may grow to."""

from __future__ import annotations

import zlib

from gateway.errors import Code
from gateway.transport.seam import Refused

ACCEPTED = "identity,deflate,gzip"
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}


def is_known(encoding: bytes) -> bool:
    """True for every ``grpc-encoding`` that we can read."""
    return encoding == b"identity" or encoding in _WINDOW_BITS


def decompress(encoding: bytes | None, data: bytes, limit: int) -> bytes:
    """Return the message behind ``data``, which came with the compressed flag set.

    Never holds more than ``limit`` + 1 bytes of output.
    Raises: Refused with INTERNAL when there is no encoding or the data does not fit it, with
    RESOURCE_EXHAUSTED when the message would be larger than ``limit``.
    """
    bits = _WINDOW_BITS.get(encoding) if encoding is not None else None
    if bits is None:
        raise Refused(Code.INTERNAL, "message is flagged as compressed, but the call has no grpc-encoding")
    stream = zlib.decompressobj(bits)
    try:
        message = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise Refused(Code.INTERNAL, f"message is not valid {_text(encoding)}") from error
    if len(message) > limit:
        raise Refused(
            Code.RESOURCE_EXHAUSTED,
            f"received message larger than max after decompression ({limit}): send at most {limit} bytes",
        )
    if not stream.eof or stream.unused_data:
        raise Refused(Code.INTERNAL, f"message is not valid {_text(encoding)}: it ends early or late")
    return message


def choose(accepted: bytes | None) -> str | None:
    """Return the encoding to answer with, given the caller's ``grpc-accept-encoding``; None is identity."""
    offered = accepted.replace(b" ", b"").split(b",") if accepted else ()
    return "gzip" if b"gzip" in offered else "deflate" if b"deflate" in offered else None


def compress(encoding: str, message: bytes, level: int = 1) -> bytes:
    """Return ``message`` in ``encoding`` (``gzip`` or ``deflate``)."""
    stream = zlib.compressobj(level, wbits=_WINDOW_BITS[encoding.encode()])
    return stream.compress(message) + stream.flush()


def _text(encoding: bytes | None) -> str:
    return (encoding or b"identity").decode("ascii", "replace")
