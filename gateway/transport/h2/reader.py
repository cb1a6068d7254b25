"""The frames of one connection: each is one step of the core, and what follows from it.

Plain code: a reset cancels its handler the moment the frame is read.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from typing import cast

from gateway.transport.h2 import core as h2
from gateway.transport.h2.call import Call
from gateway.transport.h2.cutter import Cutter
from gateway.transport.h2.intake import Intake
from gateway.transport.h2.method import Turned
from gateway.transport.h2.sender import Sender
from gateway.transport.lifetime import Lifetime, Verdict

_PROTOCOL_ERROR = int(h2.H2Reason.PROTOCOL_ERROR)
_STREAM_CLOSED = int(h2.H2Reason.STREAM_CLOSED)
_CUT_SHORT = 1024
"""Calls that were turned away before their body was whole, of whose late frames we know what they are."""


class Reader:
    """Takes what the socket gives. A peer that breaks the protocol gets GOAWAY with the reason, and the end.

    ``max_silence`` bytes may come without making a whole frame: then it is a header block beyond any limit that comes.
    ``on_ack`` hears that the peer has answered a ping of ours, as it does when it has seen our GOAWAY.
    """

    def __init__(
        self,
        core: h2.H2Streams,
        sender: Sender,
        intake: Intake,
        lifetime: Lifetime,
        *,
        max_silence: int,
        on_ack: Callable[[], None],
        clock_ns: Callable[[], int],
    ) -> None:
        self._core = core
        self._sender = sender
        self._intake = intake
        self._lifetime = lifetime
        self._on_ack = on_ack
        self._clock_ns = clock_ns
        self._call_soon = asyncio.get_running_loop().call_soon
        self._fresh: list[int] = []
        self._begun: set[int] = set()  # calls to be turned away whose body has not come
        self._cut_short: collections.OrderedDict[int, None] = collections.OrderedDict()
        self._cutter: Cutter | None = Cutter()
        self._max_silence = max_silence
        self._silence = 0

    @property
    def settled(self) -> bool:
        """True once the peer has acknowledged our SETTINGS, which it must before long (RFC 9113, 6.5.3)."""
        return self._cutter is None

    def let_go(self) -> None:
        """Tell nobody any more: the socket is gone."""
        self._on_ack = _nothing

    def receive(self, data: bytes) -> None:
        """Take the next bytes, the preface included."""
        try:
            if self._cutter is None:
                self._take(data)
            else:
                self._take_one_by_one(self._cutter, data)
            self._sender.after(self._core.maybe_goaway_reply())
        except h2.H2Error as error:
            reason = error.args[0] if error.args and isinstance(error.args[0], int) else _PROTOCOL_ERROR
            self._core.send_goaway(reason)
            self._sender.close()
        finally:
            self._intake.settle()
        for stream_id in self._begun:
            self._came(stream_id)
        self._begun.clear()
        self._sender.settle()

    def _take(self, data: bytes) -> None:
        frames = self._core.receive(data)
        if frames:
            self._silence = 0
        else:
            self._silence += len(data)
            if self._silence > self._max_silence:
                self._sender.goodbye(h2.H2Reason.ENHANCE_YOUR_CALM, b"header_block_too_large")
        for frame in frames:
            try:
                if isinstance(frame, h2.H2FrameData):  # these two are nearly all that comes
                    self._data(frame)
                elif isinstance(frame, h2.H2FrameHeaders):
                    self._headers(frame)
                else:
                    self._other(frame)
            except h2.H2StreamError as error:
                self._stream_failed(error)

    def _take_one_by_one(self, cutter: Cutter, data: bytes) -> None:
        # The core decodes all it is given before it learns that the peer has seen our SETTINGS, so the first frame
        # that uses our frame size must not come with the acknowledgement.
        while data:
            piece = data if self._cutter is None else cutter.cut(data)
            data = data[len(piece) :]
            self._take(piece)

    def _other(self, frame: h2.Frame) -> None:
        if isinstance(frame, h2.H2FrameWindowUpdate):
            self._window(self._core.recv_window_update(frame))
        elif isinstance(frame, h2.H2FrameRstStream):
            reset = self._core.recv_reset(frame)
            if reset is not None:
                self._intake.gone(cast("Call | Turned", reset[0]))
                self._sender.after(reset[3])
        elif isinstance(frame, h2.H2FramePing):
            self._ping(frame)
        elif isinstance(frame, h2.H2FrameSettings):
            self._settings(frame)
        elif isinstance(frame, h2.H2FrameGoAway):
            aborted, flags = self._core.recv_go_away(frame)
            for call, _ in aborted:
                self._intake.gone(cast("Call | Turned", call))
            self._sender.after(flags)
        elif isinstance(frame, h2.H2FrameStreamError):
            raise h2.H2StreamError(frame.stream_id, frame.error_code, "library")

    def _headers(self, frame: h2.H2FrameHeaders) -> None:
        entry = self._intake.entry(frame)
        call = entry if isinstance(entry, Turned) else Call()
        verdict = self._core.recv_headers(frame, call)
        if verdict.kind == h2.H2_HEADERS_OPENED:
            stream_id = verdict.stream_id
            if not isinstance(entry, Turned) and isinstance(call, Call):
                self._came(stream_id)
                call.id = stream_id
                self._intake.open(call, frame, entry)
            elif not verdict.eof:
                self._begun.add(stream_id)
            if verdict.eof:
                self._end(stream_id, call)
        elif verdict.kind == h2.H2_HEADERS_TRAILERS:
            self._end(frame.stream_id, cast("Call | Turned", verdict.handle))
        if verdict.flags:
            self._sender.after(verdict.flags)

    def _end(self, stream_id: int, call: Call | Turned) -> None:
        if isinstance(call, Turned):
            self._sender.turn_away(stream_id, call)
        else:
            self._intake.end(call)

    def _came(self, stream_id: int) -> None:
        if not self._fresh:
            self._call_soon(self._accept)
        self._fresh.append(stream_id)

    def _accept(self) -> None:
        """Tell the core that we looked; streams that were reset before count as a rapid reset, and it ends those."""
        fresh, self._fresh = self._fresh, []
        for stream_id in fresh:
            self._core.accepted(stream_id)

    def _data(self, frame: h2.H2FrameData) -> None:
        verdict = self._core.recv_data(frame)
        call = verdict.handle
        if isinstance(call, Turned):
            self._begun.discard(frame.stream_id)
            if not verdict.eof:
                self._cut(frame.stream_id, verdict)
            self._sender.turn_away(frame.stream_id, call)
        elif isinstance(call, Call):
            payload = verdict.payload
            if payload is not None:
                if verdict.budgeted:
                    self._core.release_data_frame(call.id, len(payload))
                self._intake.body(call, payload, verdict.eof)
            if verdict.eof:
                self._intake.end(call)
        if verdict.flags:
            self._sender.after(verdict.flags)

    def _cut(self, stream_id: int, verdict: h2.H2RecvDataVerdict) -> None:
        """Take a part of a body that nobody waits for; what is whole the core takes back with its stream."""
        self._came(stream_id)  # it may still be reset
        self._cut_short[stream_id] = None
        if len(self._cut_short) > _CUT_SHORT:
            self._cut_short.popitem(last=False)
        payload = verdict.payload
        if payload is not None:
            if verdict.budgeted:
                self._core.release_data_frame(stream_id, len(payload))
            self._sender.after(self._core.release_capacity(stream_id, len(payload)))

    def _ping(self, frame: h2.H2FramePing) -> None:
        self._sender.after(self._core.recv_ping(frame))
        if not frame.ack:
            self._judge(self._lifetime.ping(self._clock_ns(), spoke=self._take_spoke()), b"too_many_pings")
        else:
            self._on_ack()

    def _settings(self, frame: h2.H2FrameSettings) -> None:
        _, waiting, flags = self._core.recv_settings(frame)
        self._window(waiting)
        self._sender.after(flags)
        if frame.ack:
            self._cutter = None
        else:
            self._judge(self._lifetime.settings(spoke=self._sender.spoke), b"too_many_settings")

    def _window(self, waiting: list[object]) -> None:
        for call in waiting:
            if isinstance(call, Call):
                self._sender.pump(call)

    def _take_spoke(self) -> bool:
        spoke, self._sender.spoke = self._sender.spoke, False
        return spoke

    def _judge(self, verdict: Verdict, text: bytes) -> None:
        if verdict is Verdict.CLOSE:
            self._sender.goodbye(h2.H2Reason.ENHANCE_YOUR_CALM, text)

    def _stream_failed(self, error: h2.H2StreamError) -> None:
        stream_id, reason, initiator = error.args
        if initiator == "remote":
            return
        if reason == _STREAM_CLOSED and stream_id in self._cut_short:  # was on its way when we answered: no error
            return
        verdict = self._core.reset_on_error(stream_id, reason)
        if verdict.handle is not None:
            self._intake.gone(cast("Call | Turned", verdict.handle))
        self._sender.after(verdict.flags)


def _nothing() -> None:
    """Nobody listens."""
