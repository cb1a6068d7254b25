"""Every behaviour of httpunk's core that the ``h2`` transport relies on. A new version must pass this first."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.transport.h2 import core as h2
from gateway.transport.seam import Limits

GRPC = h2.HeaderMap([("content-type", b"application/grpc"), ("X-Upper", b"v")])

REQUEST = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/s/M"), (b":authority", b"a"))


class Handle:
    """Stands for a call: the core gives back the very object it was given."""


def take(core: h2.H2Streams) -> bytes:
    data, _ = core.take_pending()
    taken = bytes(data)
    data.release()
    core.credit_written()
    return taken


class Pair:
    """Our core and a client's, joined by hand."""

    def __init__(self, limits: Limits | None = None, window: int = 65_535) -> None:
        self.server = h2.open_core(limits or Limits())
        self.client = h2.H2Streams(
            "client",
            initial_window_size=window,
            connection_window=65_535,
            max_frame_size=16_384,
            max_header_list_size=65_536,
            max_send_buf_size=1 << 20,
            max_concurrent_streams=100,
        )
        self.server.begin()
        self.client.begin()
        self.settle()

    def settle(self) -> None:
        for _ in range(3):
            for frame in self.client.receive(take(self.server)):
                if isinstance(frame, h2.H2FrameSettings):
                    self.client.recv_settings(frame)
                elif isinstance(frame, h2.H2FramePing):
                    self.client.recv_ping(frame)
            for frame in self.arrived():
                if isinstance(frame, h2.H2FrameSettings):
                    self.server.recv_settings(frame)
                elif isinstance(frame, h2.H2FramePing):
                    self.server.recv_ping(frame)

    def arrived(self) -> Iterator[h2.Frame]:
        yield from self.server.receive(take(self.client))

    def open(self, body: bytes | None = b"body") -> tuple[int, Handle]:
        """A request as the server sees it: its stream and the handle we gave."""
        end = body is None
        stream = self.client.open_stream("POST", "/s/M", GRPC, end, False, Handle(), scheme="http", authority="x")
        assert stream is not None
        if body is not None:
            self.client.send_data(stream, body, 0, True)
        handle = Handle()
        for frame in self.arrived():
            if isinstance(frame, h2.H2FrameHeaders):
                verdict = self.server.recv_headers(frame, handle)
                assert verdict.kind == h2.H2_HEADERS_OPENED
                assert verdict.stream_id == stream
                assert verdict.eof is end
                assert (frame.method, frame.path) == ("POST", "/s/M")
                assert frame.headers.items() == [("content-type", b"application/grpc"), ("x-upper", b"v")]
            elif isinstance(frame, h2.H2FrameData):
                data = self.server.recv_data(frame)
                assert data.handle is handle
                assert (data.payload, data.eof) == (body, True)
                self.server.release_capacity(stream, len(data.payload or b""))
        self.server.accepted(stream)
        return stream, handle


def test_the_version_is_the_one_that_was_read() -> None:
    assert importlib.metadata.version("httpunk") == "0.4.5"


def test_only_the_core_file_knows_httpunk() -> None:
    package = Path(h2.__file__).parent.parent.parent
    knowing = [p.name for p in package.rglob("*.py") if re.search(r"^\s*(from|import) httpunk", p.read_text(), re.M)]
    assert knowing == ["core.py"]


def test_the_preface_is_recognised_at_any_length() -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    assert all(h2.is_preface(preface[:n]) is None for n in range(24))
    assert h2.is_preface(preface) is True
    assert h2.is_preface(preface + b"more") is True
    assert h2.is_preface(b"GET / HTTP/1.1\r\n") is False


def test_an_answer_is_three_steps_and_may_reuse_its_fields() -> None:
    pair = Pair()
    head, tail = h2.HeaderMap([("content-type", b"application/grpc")]), h2.HeaderMap([("grpc-status", b"0")])
    for _ in range(3):
        stream, _handle = pair.open()
        assert pair.server.send_response_head(stream, 200, head, False).stopped is None
        sent = pair.server.send_data(stream, b"answer", 0, False)
        assert (sent.done, sent.sent, sent.stopped) == (True, 6, None)
        pair.server.send_trailers(stream, tail)
        frames = pair.client.receive(take(pair.server))
        assert [type(f).__name__ for f in frames] == ["H2FrameHeaders", "H2FrameData", "H2FrameHeaders"]
        assert pair.server.num_streams == 0


def test_an_answer_before_the_body_resets_the_rest_with_no_error() -> None:
    pair = Pair()
    stream = pair.client.open_stream("POST", "/s/M", GRPC, False, False, Handle(), scheme="http", authority="x")
    (frame,) = pair.arrived()
    assert isinstance(frame, h2.H2FrameHeaders)
    pair.server.recv_headers(frame, Handle())
    assert stream is not None
    pair.server.send_response_head(stream, 200, h2.HeaderMap([("grpc-status", b"8")]), True)
    head, reset = pair.client.receive(take(pair.server))
    assert isinstance(head, h2.H2FrameHeaders)
    assert isinstance(reset, h2.H2FrameRstStream)
    assert reset.error_code == 0


def test_a_reset_gives_back_the_handle_at_once() -> None:
    pair = Pair()
    stream, handle = pair.open()
    pair.client.reset_stream(stream, 8)
    (frame,) = pair.arrived()
    assert isinstance(frame, h2.H2FrameRstStream)
    reset = pair.server.recv_reset(frame)
    assert reset is not None
    assert reset[0] is handle
    assert pair.server.send_response_head(stream, 200, GRPC, False).stopped is not None


def test_a_full_window_stops_the_data_and_an_update_names_the_handle() -> None:
    pair = Pair(window=10)
    stream, handle = pair.open()
    pair.server.send_response_head(stream, 200, GRPC, False)
    first = pair.server.send_data(stream, bytes(25), 0, False)
    assert (first.done, first.sent) == (False, 10)
    stuck = pair.server.send_data(stream, bytes(25), 10, False)
    assert (stuck.done, stuck.sent) == (False, 0)
    update = pair.server.receive(bytes([0, 0, 4, 8, 0]) + stream.to_bytes(4, "big") + (15).to_bytes(4, "big"))[0]
    assert isinstance(update, h2.H2FrameWindowUpdate)
    assert pair.server.recv_window_update(update) == [handle]
    assert pair.server.send_data(stream, bytes(25), 10, False).done


def test_streams_over_the_limit_are_stream_errors() -> None:
    pair = Pair(Limits(max_streams=1))
    pair.open()
    pair.client.open_stream("POST", "/s/M", GRPC, True, False, Handle(), scheme="http", authority="x")
    (frame,) = pair.arrived()
    assert isinstance(frame, h2.H2FrameHeaders)
    with pytest.raises(h2.H2StreamError) as caught:
        pair.server.recv_headers(frame, Handle())
    assert caught.value.args[1:] == (7, "library")  # REFUSED_STREAM


def test_resets_of_streams_that_nobody_looked_at_end_the_connection() -> None:
    pair = Pair()

    def open_and_reset() -> None:
        stream = pair.client.open_stream("POST", "/s/M", GRPC, False, False, Handle(), scheme="http", authority="x")
        assert stream is not None
        pair.client.reset_stream(stream, 8)
        for frame in pair.arrived():
            if isinstance(frame, h2.H2FrameHeaders):
                pair.server.recv_headers(frame, Handle())
            elif isinstance(frame, h2.H2FrameRstStream):
                pair.server.recv_reset(frame)

    for _ in range(20):
        open_and_reset()
    with pytest.raises(h2.H2Error, match="too_many_resets"):
        open_and_reset()


def test_a_large_frame_is_decoded_once_the_acknowledgement_was_taken_and_not_before() -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    ack, large = bytes([0, 0, 0, 4, 1, 0, 0, 0, 0]), bytes([0, 0x80, 0, 0, 0, 0, 0, 0, 1]) + bytes(0x8000)
    together = h2.open_core(Limits())
    together.begin()
    together.receive(preface)
    with pytest.raises(h2.H2Error):
        together.receive(ack + large)
    apart = h2.open_core(Limits())
    apart.begin()
    apart.receive(preface)
    (frame,) = apart.receive(ack)
    assert isinstance(frame, h2.H2FrameSettings)
    apart.recv_settings(frame)
    assert isinstance(apart.receive(large)[0], h2.H2FrameData)


def test_a_graceful_shutdown_is_final_once_the_ping_is_answered() -> None:
    pair = Pair()
    stream, _ = pair.open()
    pair.server.begin_graceful_shutdown()
    assert not pair.server.shutdown_final
    pair.settle()
    assert pair.server.shutdown_final
    assert pair.server.num_streams == 1
    pair.server.send_response_head(stream, 200, GRPC, True)
    assert pair.server.num_streams == 0


def test_a_goaway_may_carry_a_text() -> None:
    data = h2.goaway(5, h2.H2Reason.ENHANCE_YOUR_CALM, b"too_many_pings")
    assert data[3] == 7
    assert data.endswith((5).to_bytes(4, "big") + (11).to_bytes(4, "big") + b"too_many_pings")


def test_no_date_is_sent() -> None:
    pair = Pair()
    stream, _ = pair.open(None)
    pair.server.send_response_head(stream, 200, h2.HeaderMap([("grpc-status", b"0")]), True)
    (frame,) = pair.client.receive(take(pair.server))
    assert isinstance(frame, h2.H2FrameHeaders)
    assert frame.headers.items() == [("grpc-status", b"0")]


def test_a_stream_that_ends_gives_its_windows_back_and_needs_no_acceptance() -> None:
    """What calls that are turned away rest on: the core is told nothing but the answer's head."""
    pair, handle, room = Pair(), Handle(), 0
    fields = b"".join(b"\x10" + bytes((len(n),)) + n + bytes((len(v),)) + v for n, v in REQUEST)
    for stream in range(1, 4001, 2):
        head = len(fields).to_bytes(3) + b"\x01\x04" + stream.to_bytes(4) + fields
        body = (16_000).to_bytes(3) + b"\x00\x01" + stream.to_bytes(4) + bytes(16_000)
        opening, data = pair.server.receive(head + body)
        assert isinstance(opening, h2.H2FrameHeaders)
        assert isinstance(data, h2.H2FrameData)
        pair.server.recv_headers(opening, handle)
        assert pair.server.recv_data(data).eof
        pair.server.send_response_head(stream, 200, h2.HeaderMap([("grpc-status", b"8")]), True)
        take(pair.server)
        room = room or pair.server.conn_recv_available
    assert pair.server.num_streams == 0
    assert pair.server.conn_recv_available == room > 0
