"""gRPC's length-prefixed messages, as pure code: one flag byte, four bytes of length, the message.

Frames need not align with the chunks that carry them.
"""

from __future__ import annotations

import struct

from gateway.errors import Code
from gateway.transport.seam import Refused

PREFIX_BYTES = 5
_SMALL = 1024  # chunks below this are gathered
_prefix = struct.Struct(">BI")


def frame(message: bytes, *, compressed: bool = False) -> bytes:
    """Return ``message`` behind its five-byte prefix."""
    return _prefix.pack(compressed, len(message)) + message


def prefix(message: bytes, *, compressed: bool = False) -> bytes:
    """Return what stands before ``message`` on the wire."""
    return _prefix.pack(compressed, len(message))


def whole_message(chunk: bytes) -> bytes | None:
    """Return the message if ``chunk`` is exactly one plain frame, else None: the common case, made cheap."""
    size = len(chunk) - PREFIX_BYTES
    if size < 0 or chunk[0] or int.from_bytes(chunk[1:PREFIX_BYTES], "big") != size:
        return None
    return chunk[PREFIX_BYTES:]


class Assembler:
    """Joins chunks into messages of at most ``limit`` bytes; holds no more than one unfinished message.

    Small chunks are gathered, so that a message that comes byte by byte costs no more memory than its bytes.
    Not for two tasks at once.
    """

    __slots__ = ("_chunks", "_flag", "_limit", "_need", "held")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._chunks: list[bytes | bytearray] = []
        self._flag: bool | None = None  # of the message whose body we wait for; None while we wait for a prefix
        self._need = PREFIX_BYTES
        self.held = 0

    @property
    def unfinished(self) -> bool:
        """True while bytes came that do not make a whole message yet."""
        return self.held > 0 or self._flag is not None

    def feed(self, chunk: bytes) -> list[tuple[bool, bytes]]:
        """Return the messages that ``chunk`` completes, each with its compressed flag.

        Raises: Refused with RESOURCE_EXHAUSTED as soon as a prefix announces more than the limit, before its
        body is kept; with INTERNAL for a flag that gRPC does not know.
        """
        self.held += len(chunk)
        messages: list[tuple[bool, bytes]] = []
        if self.held < self._need:
            self._keep(chunk)
            return messages
        data = b"".join((*self._chunks, chunk)) if self._chunks else chunk
        start = 0
        while len(data) - start >= self._need:
            part = data[start : start + self._need]
            start += self._need
            if self._flag is None:
                self._begin(part)
            else:
                messages.append((self._flag, part))
                self._flag, self._need = None, PREFIX_BYTES
        rest = data[start:]
        self._chunks = [rest] if rest else []
        self.held = len(rest)
        return messages

    def _keep(self, chunk: bytes) -> None:
        last = self._chunks[-1] if self._chunks else None
        if isinstance(last, bytearray):
            last += chunk
        elif len(chunk) < _SMALL:
            self._chunks.append(bytearray(chunk))
        else:
            self._chunks.append(chunk)

    def _begin(self, prefix: bytes) -> None:
        flag, length = _prefix.unpack(prefix)
        if flag > 1:
            raise Refused(Code.INTERNAL, f"message flag byte is {flag}: expected 0 (plain) or 1 (compressed)")
        if length > self._limit:
            raise Refused(
                Code.RESOURCE_EXHAUSTED,
                f"received message larger than max ({length} vs. {self._limit}): send fewer bytes",
            )
        self._flag, self._need = flag == 1, length
