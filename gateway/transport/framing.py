"""gRPC's length-prefixed messages, as pure code: one flag byte, four bytes of length, the message.

Frames need not align with the chunks that carry them.
"""

from __future__ import annotations

import struct

from gateway.errors import Code
from gateway.transport.seam import Refused

PREFIX_BYTES = 5
_prefix = struct.Struct(">BI")


def frame(message: bytes, *, compressed: bool = False) -> bytes:
    """Return ``message`` behind its five-byte prefix."""
    return _prefix.pack(compressed, len(message)) + message


def whole_message(chunk: bytes) -> bytes | None:
    """Return the message if ``chunk`` is exactly one plain frame, else None: the common case, made cheap."""
    size = len(chunk) - PREFIX_BYTES
    if size < 0 or chunk[0] or int.from_bytes(chunk[1:PREFIX_BYTES], "big") != size:
        return None
    return chunk[PREFIX_BYTES:]


class Assembler:
    """Joins chunks into messages of at most ``limit`` bytes; holds no more than one unfinished message.

    Not for two tasks at once.
    """

    __slots__ = ("_chunks", "_limit", "_message", "_need", "held")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._chunks: list[bytes] = []
        self._message: bool | None = None  # the flag of the message whose body we wait for
        self._need = PREFIX_BYTES
        self.held = 0

    @property
    def unfinished(self) -> bool:
        """True while bytes came that do not make a whole message yet."""
        return self.held > 0 or self._message is not None

    def feed(self, chunk: bytes) -> list[tuple[bool, bytes]]:
        """Return the messages that ``chunk`` completes, each with its compressed flag.

        Raises: Refused with RESOURCE_EXHAUSTED as soon as a prefix announces more than the limit, before its
        body is kept; with INTERNAL for a flag that gRPC does not know.
        """
        self._chunks.append(chunk)
        self.held += len(chunk)
        messages: list[tuple[bool, bytes]] = []
        while self.held >= self._need:
            part = self._take()
            if self._message is None:
                self._begin(part)
            else:
                messages.append((self._message, part))
                self._message, self._need = None, PREFIX_BYTES
        return messages

    def _take(self) -> bytes:
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        part, rest = data[: self._need], data[self._need :]
        self._chunks = [rest] if rest else []
        self.held = len(rest)
        return part

    def _begin(self, prefix: bytes) -> None:
        flag, length = _prefix.unpack(prefix)
        if flag > 1:
            raise Refused(Code.INTERNAL, f"message flag byte is {flag}: expected 0 (plain) or 1 (compressed)")
        if length > self._limit:
            raise Refused(
                Code.RESOURCE_EXHAUSTED,
                f"received message larger than max ({length} vs. {self._limit}): send fewer bytes",
            )
        self._message, self._need = flag == 1, length
