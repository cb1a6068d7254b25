"""HTTP/1.1 as far as a decision needs it: one POST out, one response in. Bytes only; no sockets, no clock."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

MAX_HEAD = 16 * 1024
MAX_BODY = 256 * 1024

_STATUS = re.compile(rb"^HTTP/1\.1 (\d{3})(?: [^\r\n]*)?$")
_TOKEN = re.compile(r"^[\x21-\x7e]*$")


class BadResponse(Exception):
    """The peer does not speak HTTP as it should, or says more than it may."""


@dataclass(frozen=True, slots=True)
class Response:
    """A complete response. ``keep`` tells whether the connection may carry another request."""

    status: int
    body: bytes
    keep: bool


def post_head(path: str, host: str, token: str = "") -> bytes:
    """The constant part of every request: all header fields but traceparent and Content-Length.

    Raises: ValueError for a host or token that would break out of its header.
    """
    if not (_TOKEN.match(host) and _TOKEN.match(token)):
        raise ValueError("host and token of the OPA server must be visible ASCII without spaces")
    auth = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{auth}".encode()


def post(head: bytes, body: bytes, traceparent: str = "") -> bytes:
    """One request. No Accept-Encoding: answers stay plain."""
    trace = b"traceparent: %b\r\n" % traceparent.encode() if traceparent else b""
    return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, trace, len(body), body)


@dataclass(slots=True)
class ResponseParser:
    """Takes bytes as they come, in pieces of any size, until one response is whole.

    Chunks are read by their stated length, never by looking for a terminator.
    """

    _buffer: bytearray = field(default_factory=bytearray)
    _state: Literal["head", "fixed", "size", "chunk", "trailer", "done"] = "head"
    _status: int = 0
    _keep: bool = True
    _left: int = 0
    _body: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Response | None:
        """The response once it is whole. Raises: BadResponse, also for bytes after its end."""
        self._buffer += data
        while self._step():
            pass
        if self._state != "done":
            return None
        if self._buffer:
            raise BadResponse("bytes after the end of the response")
        return Response(self._status, bytes(self._body), self._keep)

    def _step(self) -> bool:
        """Take what the buffer has for the present state; False when it needs more, or nothing more."""
        match self._state:
            case "head":
                return self._head()
            case "fixed" | "chunk":
                return self._content()
            case "size":
                return self._size()
            case "trailer":
                return self._trailer()
            case "done":
                return False

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise BadResponse(f"header over {MAX_HEAD} bytes")
            return False
        first, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        status = _STATUS.match(first)
        if status is None:
            raise BadResponse("not an HTTP/1.1 status line")
        self._status = int(status[1])
        self._framing(_fields(lines))
        return True

    def _framing(self, fields: dict[bytes, bytes]) -> None:
        self._keep = fields.get(b"connection", b"").lower() != b"close"
        chunked, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
        if chunked is not None:
            if chunked.lower() != b"chunked" or length is not None:
                raise BadResponse("ambiguous framing")
            self._state = "size"
        elif length is not None and length.isdigit():
            self._expect(int(length), "fixed")
        else:
            raise BadResponse("neither Content-Length nor chunked")

    def _expect(self, size: int, state: Literal["fixed", "chunk"]) -> None:
        if len(self._body) + size > MAX_BODY:
            raise BadResponse(f"body over {MAX_BODY} bytes")
        self._left, self._state = size, state

    def _content(self) -> bool:
        ending = 2 if self._state == "chunk" else 0
        if len(self._buffer) < self._left + ending:
            return False
        self._body += self._buffer[: self._left]
        if ending and self._buffer[self._left : self._left + 2] != b"\r\n":
            raise BadResponse("a chunk that does not end where it said")
        del self._buffer[: self._left + ending]
        self._state = "size" if ending else "done"
        return True

    def _size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        digits = line.partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", digits):
            raise BadResponse("a chunk without a size")
        size = int(digits, 16)
        if size:
            self._expect(size, "chunk")
        else:
            self._state = "trailer"
        return True

    def _trailer(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if not line:
            self._state = "done"
        return True

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise BadResponse(f"a line over {MAX_HEAD} bytes")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    """Header fields in lower case. Raises: BadResponse for one that repeats a framing field or is none."""
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        key = name.lower()
        if not colon or not key or (key in fields and key in (b"content-length", b"transfer-encoding")):
            raise BadResponse("a broken or repeated header field")
        fields[key] = value.strip()
    return fields
