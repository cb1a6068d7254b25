"""httpunk's HTTP/2 core, and the only file that knows it.

httpunk is a state machine in Rust (``H2Streams``: frames, HPACK, flow control, resets, GOAWAY) under an asyncio
driver of its own. The driver costs more than the machine, hides resets and pings and has no timers, so we drive
the machine ourselves. Its module is private: the version is pinned exactly in pyproject.toml, and
``tests/transport/h2/test_core.py`` holds every behaviour that we rely on.
"""

from __future__ import annotations

from typing import TypeAlias

from httpunk._httpunk import (
    H2_FLAG_CAPACITY,
    H2_FLAG_CONN_DONE,
    H2_HEADERS_OPENED,
    H2_HEADERS_TRAILERS,
    H2Codec,
    H2Error,
    H2FrameData,
    H2FrameGoAway,
    H2FrameHeaders,
    H2FramePing,
    H2FramePriority,
    H2FrameRstStream,
    H2FrameSettings,
    H2FrameStreamError,
    H2FrameWindowUpdate,
    H2Reason,
    H2RecvDataVerdict,
    H2SendVerdict,
    H2StreamError,
    H2Streams,
    HeaderMap,
)

from gateway.transport.seam import Limits

__all__ = [
    "H2_FLAG_CAPACITY",
    "H2_FLAG_CONN_DONE",
    "H2_HEADERS_OPENED",
    "H2_HEADERS_TRAILERS",
    "Frame",
    "H2Error",
    "H2FrameData",
    "H2FrameGoAway",
    "H2FrameHeaders",
    "H2FramePing",
    "H2FrameRstStream",
    "H2FrameSettings",
    "H2FrameStreamError",
    "H2FrameWindowUpdate",
    "H2Reason",
    "H2RecvDataVerdict",
    "H2SendVerdict",
    "H2StreamError",
    "H2Streams",
    "HeaderMap",
    "goaway",
    "is_preface",
    "max_silence",
    "open_core",
]

Frame: TypeAlias = (
    H2FrameHeaders
    | H2FrameData
    | H2FrameSettings
    | H2FrameWindowUpdate
    | H2FramePing
    | H2FrameGoAway
    | H2FrameRstStream
    | H2FrameStreamError
    | H2FramePriority
)

_STREAM_WINDOW = 1024 * 1024
_CONNECTION_WINDOW = 16 * 1024 * 1024  # larger than a stream's: one unread body must not stall the other calls
_FRAME_BYTES = 64 * 1024  # four times the least: half the CPU of a large tensor
_SEND_BUFFER = 128 * 1024  # of one stream, framed and not yet written
_CHUNK = 256 * 1024  # the most that the loop hands over at once
_HUFFMAN = 8 / 5  # how much longer than on the wire a value can be
_PENDING_RESETS = 20  # rapid reset: streams that were reset before we looked at them
_ERROR_RESETS = 1024  # streams that we had to reset for the peer's errors


def open_core(limits: Limits) -> H2Streams:
    """Return the state of a new connection. Nothing is queued before ``begin()``."""
    return H2Streams(
        "server",
        initial_window_size=_STREAM_WINDOW,
        connection_window=_CONNECTION_WINDOW,
        max_frame_size=_FRAME_BYTES,
        max_header_list_size=_header_list(limits),
        max_send_buf_size=_SEND_BUFFER,
        max_concurrent_streams=limits.max_streams,
        max_pending_accept_reset_streams=_PENDING_RESETS,
        max_local_error_reset_streams=_ERROR_RESETS,
        auto_date_header=False,
    )


def max_silence(limits: Limits) -> int:
    """Return how many bytes may come without making a whole frame: one of ours, or a header block within the limit."""
    return limits.max_metadata_bytes + _FRAME_BYTES + 1024


def _header_list(limits: Limits) -> int:
    # The core drops fields beyond this without a word. A dropped field is no longer than the longest header block,
    # which begins in one chunk, goes on for ``max_silence`` and ends in another: what is left is over our limit then.
    return int(_HUFFMAN * (max_silence(limits) + 2 * _CHUNK)) + limits.max_metadata_bytes


def is_preface(data: bytes) -> bool | None:
    """True if ``data`` opens an HTTP/2 connection, False if it never will, None while it is too short to tell."""
    return H2Codec.match_preface(data)


def goaway(last_stream_id: int, reason: H2Reason, text: bytes) -> bytes:
    """Return a GOAWAY frame that says why: gRPC clients read ``too_many_pings`` and ping less."""
    return H2Codec("server").serialize_go_away(last_stream_id, int(reason), text)
