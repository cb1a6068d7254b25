"""A connection without a network and the client at its other end, who sends whole packets at once."""

from __future__ import annotations

from collections.abc import Sequence

from fake_transport import FakeTransport, Outcome
from hpack import Encoder
from raw_client import PREFACE, message, raw_frame

from gateway.transport.h2.connection import Connection
from gateway.transport.h2.shared import Shared

DATA, HEADERS, RESET, SETTINGS = 0, 1, 3, 4
END_STREAM, END_HEADERS, ACK = 1, 4, 1


class Peer:
    """One connection of ``shared``, greeted, on which calls of ``Test/Wait`` are made by stream id."""

    def __init__(self, shared: Shared) -> None:
        self.transport = FakeTransport(connection := Connection(shared, set()))
        connection.connection_made(self.transport)
        self._encoder = Encoder()
        self.transport.feed(PREFACE + raw_frame(SETTINGS, 0, 0, b"") + raw_frame(SETTINGS, ACK, 0, b""))

    def send(self, *streams: int, timeout: str = "", reset: Sequence[int] = (), between: bool = False) -> None:
        """Send one call on each of ``streams`` and resets of others, in one packet; ``between``: after the first."""
        head = [(":method", "POST"), (":scheme", "http"), (":path", "/test.Test/Wait"), (":authority", "localhost")]
        head += [("content-type", "application/grpc"), ("te", "trailers")]
        head += [("grpc-timeout", timeout)] if timeout else []
        calls = [
            raw_frame(HEADERS, END_HEADERS, stream, self._encoder.encode(head))
            + raw_frame(DATA, END_STREAM, stream, message(b"x"))
            for stream in streams
        ]
        resets = [raw_frame(RESET, 0, stream, b"\0\0\0\x08") for stream in reset]
        self.transport.feed(b"".join((*calls[:1], *resets, *calls[1:]) if between else (*calls, *resets)))

    def statuses(self) -> dict[int, list[str]]:
        """The grpc-status values that were written so far, by stream."""
        return Outcome(self.transport.output(), (0, 0, 0), set()).statuses()
