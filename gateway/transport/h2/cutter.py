"""Where one HTTP/2 frame ends and the next begins. Pure."""

from __future__ import annotations

_PREFACE_BYTES = 24
_HEADER_BYTES = 9


class Cutter:
    """Cuts a connection's bytes, from the preface on, so that no piece reaches past the end of a frame."""

    __slots__ = ("_header", "_left")

    def __init__(self) -> None:
        self._header = b""
        self._left = _PREFACE_BYTES

    def cut(self, data: bytes) -> bytes:
        """Return the first piece of ``data``, which is not empty; the rest is for the next call."""
        if self._left:
            piece = data[: self._left]
            self._left -= len(piece)
            return piece
        piece = data[: _HEADER_BYTES - len(self._header)]
        self._header += piece
        if len(self._header) == _HEADER_BYTES:
            self._left = int.from_bytes(self._header[:3], "big")
            self._header = b""
        return piece
