"""An open loop of gRPC calls: they are sent by the clock, whatever the answers do, and every one is timed.

Time counts from the moment a call was due, not from when it could be sent, so a server that stops reading does not
look quick. h2load knows neither refusals from answers nor the time of each, and a Python gRPC client cannot send fast
enough; so this speaks just enough HTTP/2 itself: one head and one body, again and again, and the frames that come back.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import struct
import sys
import time
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_HEAD = struct.Struct(">HBBBI")
_INITIAL_WINDOW, _MAX_STREAMS = 4, 3
_WIDE = 2**30
_LAST_WORDS_S = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the calls of one run: ``answers_ms`` and ``refusals_ms`` are the median and the 99th percentile.

    ``answers`` and ``refusals`` are how many there were; ``answered`` and ``refused`` how many a second while calls
    were sent, for what a queue still holds then is not throughput. ``lost`` calls got no status within ten seconds of
    the end. ``late`` is the share of calls that the generator itself sent more than 5 ms after they were due, for want
    of streams or processor time. ``unseen_ms`` bounds what it may have added to a refusal by not looking: the time
    between its last two looks at the sockets when it saw the refusal.
    """

    offered: float
    answered: float
    refused: float
    answers: int
    refusals: int
    lost: int
    answers_ms: tuple[float, float]
    refusals_ms: tuple[float, float]
    late: float
    unseen_ms: tuple[float, float]


class Broken(Exception):
    """The server broke off a connection."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame."""
    return _HEAD.pack(len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload


def fields(path: str, extra: list[tuple[str, str]]) -> tuple[bytes, bytes]:
    """The head of a request in HPACK: as it is sent first, and in the short form that refers to the first."""
    head = [(":path", path), (":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers")]
    head += extra
    plain = bytes([0x83, 0x86])  # :method POST, :scheme http
    first = plain + b"".join(b"\x40" + _text(name) + _text(value) for name, value in head)
    return first, plain + bytes([0x80 | 61 + len(head) - place for place in range(len(head))])


def _text(text: str) -> bytes:
    assert len(text) < 127  # longer ones need more than one byte of length
    return bytes([len(text)]) + text.encode()


class Line:
    """One connection: what is to be sent on it, and when the calls in flight were due."""

    def __init__(self, port: int, first: bytes, short: bytes, message: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        settings = frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW, _WIDE))
        self.out = bytearray(_PREFACE + settings + frame(_WINDOW, 0, 0, struct.pack(">I", _WIDE)))
        self._head, self._short, self._message = first, short, message
        self._next = 1
        self._most = 100
        self._window = 65_535
        self._came = b""
        self._spoken: set[int] = set()
        self.due: dict[int, float] = {}

    @property
    def free(self) -> bool:
        """Whether one more call may be sent now."""
        return len(self.due) < self._most and self._window >= len(self._message)

    def call(self, due: float) -> None:
        """Send a call that was due at ``due``."""
        stream, self._next = self._next, self._next + 2
        self.out += frame(_HEADERS, _END_HEADERS, stream, self._head)
        self.out += frame(_DATA, _END_STREAM, stream, self._message)
        self._head = self._short
        self._window -= len(self._message)
        self.due[stream] = due

    def flush(self) -> None:
        """Write what the socket takes."""
        if self.out:
            try:
                del self.out[: self.socket.send(self.out)]
            except BlockingIOError:
                return

    def read(self, now: float, answers: array[float], refusals: array[float]) -> None:
        """Take what came; append the seconds that ended calls took. Raises: Broken."""
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        if not data:
            raise Broken("the server closed the connection")
        data = self._came + data
        place, end = 0, len(data)
        while end - place >= 9:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, place)
            size = high << 8 | low
            if place + 9 + size > end:
                break
            if kind == _HEADERS:
                if flags & _END_STREAM:
                    took = now - self.due.pop(stream)
                    if stream in self._spoken:
                        self._spoken.discard(stream)
                        answers.append(took)
                    else:
                        refusals.append(took)
            elif kind == _DATA:
                self._spoken.add(stream)
            else:
                self._control(kind, flags, stream, data[place + 9 : place + 9 + size])
            place += 9 + size
        self._came = data[place:]

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _WINDOW and not stream:
            self._window += struct.unpack(">I", payload)[0]
        elif kind == _SETTINGS and not flags & _ACK:
            for key, value in struct.iter_unpack(">HI", payload):
                if key == _MAX_STREAMS:
                    self._most = value
            self.out += frame(_SETTINGS, _ACK, 0, b"")
        elif kind == _PING and not flags & _ACK:
            self.out += frame(_PING, _ACK, 0, payload)
        elif kind == _GOAWAY or (kind == _RST and any(payload)):  # a reset without error: the body is not wanted
            raise Broken(f"the server sent {'GOAWAY' if kind == _GOAWAY else 'RST_STREAM'}: {payload!r}")


def run(
    port: int, path: str, message: bytes, rate: float, seconds: float, connections: int, extra: list[tuple[str, str]]
) -> Outcome:
    """Send ``rate`` calls a second for ``seconds`` and wait for what is still under way. Raises: Broken."""
    first, short = fields(path, extra)
    lines = [Line(port, first, short, message) for _ in range(connections)]
    selector = selectors.DefaultSelector()
    for line in lines:
        selector.register(line.socket, selectors.EVENT_READ, line)
        line.flush()
    answers, refusals, unseen = array("d"), array("d"), array("d")
    total, sent, turn, behind = int(rate * seconds), 0, 0, 0
    start = time.perf_counter() + 0.2  # for the settings to arrive
    end = start + seconds + _LAST_WORDS_S
    looked, counted = start, (0, 0)
    while len(answers) + len(refusals) < total and (now := time.perf_counter()) < end:
        due = min(total, int((now - start) * rate) + 1) if now >= start else 0
        while sent < due:
            for _ in lines:
                line = lines[turn % connections]
                turn += 1
                if line.free:
                    break
            else:
                break
            at = start + sent / rate
            behind += now - at > 0.005
            line.call(at)
            sent += 1
        for line in lines:
            line.flush()
        wait = 0.0 if sent < total else 0.01
        known = len(refusals)
        for key, _ in selector.select(max(wait, min(start + sent / rate - time.perf_counter(), 0.001))):
            key.data.read(time.perf_counter(), answers, refusals)
        before, looked = looked, time.perf_counter()
        if looked <= start + seconds:
            counted = len(answers), len(refusals)
        unseen.extend([looked - before] * (len(refusals) - known))
    for line in lines:
        line.socket.close()
    return Outcome(
        offered=rate,
        answered=counted[0] / seconds,
        refused=counted[1] / seconds,
        answers=len(answers),
        refusals=len(refusals),
        lost=total - len(answers) - len(refusals),
        answers_ms=_percentiles(answers),
        refusals_ms=_percentiles(refusals),
        late=behind / max(total, 1),
        unseen_ms=_percentiles(unseen),
    )


def _percentiles(seconds: array[float]) -> tuple[float, float]:
    if not seconds:
        return 0.0, 0.0
    p50, p99 = np.percentile(np.frombuffer(seconds), (50, 99)) * 1e3
    return round(float(p50), 2), round(float(p99), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("body", type=Path, help="file with the framed request message")
    parser.add_argument("--path", default="/inference.GRPCInferenceService/ModelInfer")
    parser.add_argument("--rate", type=float, required=True, help="calls a second")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--header", action="append", default=[], help="NAME: VALUE")
    options = parser.parse_args()
    extra = [tuple(part.strip() for part in header.split(":", 1)) for header in options.header]
    outcome = run(
        options.port, options.path, options.body.read_bytes(), options.rate, options.seconds, options.connections, extra
    )
    json.dump(asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
