"""Random peers against one connection: nothing escapes, nothing is left behind, every output frame is legal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from echo_service import EchoService
from fake_transport import FakeTransport, Outcome
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_client import PREFACE, message, raw_frame

from gateway.transport.h2.connection import Connection
from gateway.transport.h2.shared import Shared
from gateway.transport.seam import Limits

LIMITS = Limits(max_message_bytes=2000, max_streams=8, max_buffered_bytes=6000, body_s=0)
PATHS = ["Echo", "Deny", "Fail", "Wait", "Stubborn", "Chat", "Flood", "Quit", "Break", "None"]

streams = st.integers(0, 6)  # which of the open ones; a new head takes the next id
bodies = st.one_of(
    st.binary(max_size=40),
    st.binary(max_size=300).map(message),
    st.lists(st.binary(max_size=20).map(message), max_size=4).map(b"".join),
    st.tuples(st.binary(max_size=20), st.integers(0, 255), st.integers(0, 2**32 - 1)).map(
        lambda t: message(t[0], flag=t[1], length=t[2])
    ),
)
fields = st.lists(
    st.sampled_from(
        [
            ("grpc-timeout", "1m"),
            ("grpc-timeout", "bad"),
            ("grpc-encoding", "gzip"),
            ("grpc-encoding", "snappy"),
            ("x-raw-bin", "AAE"),
            ("x-raw-bin", "?"),
            ("x-big", "v" * 17_000),
            ("content-length", "5"),
            ("te", "nonsense"),
        ]
    ),
    max_size=3,
)


@st.composite
def heads(draw: st.DrawFn) -> tuple[str, object]:
    path = f"/test.Test/{draw(st.sampled_from(PATHS))}"
    method = draw(st.sampled_from(["POST"] * 9 + ["GET"]))
    kind = draw(st.sampled_from(["application/grpc"] * 9 + ["text/plain"]))
    return "head", (
        2,
        path,
        method,
        kind,
        tuple(draw(fields)),
        draw(st.booleans()),
    )


calm = st.one_of(
    heads(),
    heads(),
    st.tuples(st.just("data"), st.tuples(streams, st.binary(max_size=300).map(message), st.booleans())),
    st.tuples(st.just("data"), st.tuples(streams, bodies, st.booleans())),
    st.tuples(st.just("reset"), st.tuples(streams, st.integers(0, 20))),
    st.tuples(st.just("window"), st.tuples(streams, st.integers(1, 100_000))),
    st.tuples(st.just("run"), st.integers(1, 4)),
    st.tuples(st.just("deaf"), st.booleans()),
)
wild = st.one_of(
    st.tuples(st.just("skip"), st.sampled_from([-2, -1, 1, 2])),
    st.tuples(st.just("window"), st.tuples(streams, st.sampled_from([0, 2**31 - 1]))),
    st.tuples(st.just("ping"), st.binary(min_size=8, max_size=8)),
    st.tuples(st.just("settings"), st.tuples(st.integers(1, 6), st.integers(0, 2**32 - 1))),
    st.tuples(st.just("goaway"), st.integers(0, 13)),
    st.tuples(st.just("bytes"), st.binary(max_size=30)),
    st.tuples(st.just("frame"), st.tuples(st.integers(0, 12), st.integers(0, 255), streams, st.binary(max_size=30))),
)
scripts = st.one_of(st.lists(calm, max_size=40), st.lists(st.one_of(calm, calm, calm, wild), max_size=40))


class Peer:
    """Writes the frames of a script: stream ids grow as they should, mostly."""

    def __init__(self) -> None:
        self._hpack = Encoder()
        self._last = -1

    def bytes_of(self, step: tuple[str, object]) -> bytes:
        """The bytes of one step; none for those that are not bytes."""
        match step:
            case ("skip", int(distance)):
                self._last += distance
            case ("head", (growth, path, method, kind, extra, end)):
                self._last += growth
                block = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "x")]
                block += [("content-type", kind), *extra]
                return raw_frame(1, 5 if end else 4, max(self._last, 0), self._hpack.encode(block))
            case ("data" | "reset" | "window", _) if self._last < 1:
                pass  # no stream is open
            case ("data", (back, body, end)):
                return raw_frame(0, int(end), self._stream(back), body)
            case ("reset", (back, code)):
                return raw_frame(3, 0, self._stream(back), int(code).to_bytes(4, "big"))
            case ("window", (back, size)):
                return raw_frame(8, 0, self._stream(back) if back else 0, int(size).to_bytes(4, "big"))
            case ("ping", bytes(data)):
                return raw_frame(6, 0, 0, data)
            case ("settings", (key, value)):
                return raw_frame(4, 0, 0, int(key).to_bytes(2, "big") + int(value).to_bytes(4, "big"))
            case ("goaway", last):
                return raw_frame(7, 0, 0, int(str(last)).to_bytes(4, "big") + bytes(4))
            case ("bytes", bytes(data)):
                return data
            case ("frame", (kind, flags, back, payload)):
                return raw_frame(kind, flags, self._stream(back), payload)
        return b""

    def _stream(self, back: int) -> int:
        opened = (self._last + 1) // 2
        return max(self._last - 2 * (back % opened), 0) if opened > 0 else 1


async def play(script: Sequence[tuple[str, object]], chunk: int) -> Outcome:
    """Run a script against a fresh connection, then lose it."""
    service = EchoService()
    shared = Shared(service.methods(), LIMITS, compress_min_bytes=0, clock_ns=lambda: 0)
    live: set[Connection] = set()
    connection = Connection(shared, live)
    transport = FakeTransport(connection)
    connection.connection_made(transport)
    transport.feed(PREFACE + raw_frame(4, 0, 0, b""))
    peer, pending = Peer(), b""
    for step in script:
        pending += peer.bytes_of(step)
        if step[0] in ("run", "deaf"):
            for start in range(0, len(pending), chunk):
                transport.feed(pending[start : start + chunk])
            pending = b""
            await settle(int(str(step[1])) if step[0] == "run" else 1)
            if step[0] == "deaf":
                connection.pause_writing() if step[1] else connection.resume_writing()
    transport.feed(pending)
    connection.resume_writing()
    shared.expire(10**18)
    connection.look(10**18, 1)
    await settle(5)
    transport.abort()
    await settle(3)
    service.release.set()
    await settle(10)  # the stubborn handler's last words
    held = (len(live), len(shared.timed), shared.budget.held)
    return Outcome(transport.output(), held, {t for t in asyncio.all_tasks() if t is not asyncio.current_task()})


async def settle(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


@settings(max_examples=250, deadline=None)
@given(scripts, st.integers(1, 5000))
def test_no_peer_breaks_a_connection(script: list[tuple[str, object]], chunk: int) -> None:
    outcome = asyncio.run(play(script, chunk))
    assert outcome.held == (0, 0, 0)
    assert outcome.tasks == set()
    outcome.check_frames()
    for stream, statuses in outcome.statuses().items():
        assert len(statuses) == 1, f"stream {stream} ended {len(statuses)} times"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=10), st.booleans())
def test_no_bytes_break_a_connection(chunks: list[bytes], spoken: bool) -> None:
    script: list[tuple[str, object]] = [("bytes", chunk) for chunk in chunks]
    if not spoken:
        script.insert(0, ("run", 1))
    assert asyncio.run(play(script, 5000)).held == (0, 0, 0)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(scripts, st.integers(1, 5000))
def test_no_peer_breaks_a_connection_for_long(script: list[tuple[str, object]], chunk: int) -> None:
    test_no_peer_breaks_a_connection.hypothesis.inner_test(script, chunk)  # type: ignore[attr-defined]
