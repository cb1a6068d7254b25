"""What leaves on one connection: heads, messages, trailers, in step with the peer's windows.

Everything is queued in the core and written once per turn of the event loop. While the socket's buffer is full
nothing is taken from the core, whose own bound (per stream) then holds the senders back.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable

from gateway.transport import compression, headers
from gateway.transport.framing import frame, prefix
from gateway.transport.h2.call import Call
from gateway.transport.h2.core import (
    H2_FLAG_CAPACITY,
    H2_FLAG_CONN_DONE,
    H2Reason,
    H2SendVerdict,
    H2Streams,
    HeaderMap,
    goaway,
)
from gateway.transport.h2.method import Turned
from gateway.transport.seam import Answer, Refused

_CONTENT_TYPE = ("content-type", b"application/grpc")
_STATUS_OK = ("grpc-status", b"0")
_HEAD = HeaderMap([_CONTENT_TYPE])
_OK = HeaderMap([_STATUS_OK])
_LARGE = 64 * 1024  # from this size on a message follows its prefix, and is not copied to stand behind it
_HANDLED = H2_FLAG_CAPACITY | H2_FLAG_CONN_DONE


class Sender:
    """The ``call.Wire`` of one connection.

    ``on_end`` hears of each call that is over (answered, and its task done), ``on_done`` when the connection is.
    Answers of at least ``compress_min_bytes`` are compressed for callers who accept it; 0 never.
    """

    def __init__(
        self,
        core: H2Streams,
        transport: asyncio.Transport,
        *,
        compress_min_bytes: int,
        on_end: Callable[[Call], None],
        on_done: Callable[[], object],
    ) -> None:
        self._core = core
        self._transport = transport
        self._on_end = on_end
        self._on_done = on_done
        self._call_soon = asyncio.get_running_loop().call_soon
        self._compress_min_bytes = compress_min_bytes
        self._due = False
        self._urgent = False
        self._turn = False  # the connection's window moved on to the next call in line
        self.paused = False
        self.spoke = False  # anything was sent for a call since someone last looked

    def answer(self, call: Call, answer: Answer) -> None:
        if call.ended:
            return
        core, body = self._core, answer.body
        tail = HeaderMap([_STATUS_OK, *headers.wire(answer.trailers)]) if answer.trailers else _OK
        coding = call.coding if self._compress_min_bytes and len(body) >= self._compress_min_bytes else None
        if coding is not None:
            body = compression.compress(coding, body)
        head = _HEAD if coding is None else HeaderMap([_CONTENT_TYPE, ("grpc-encoding", coding)])
        large = len(body) >= _LARGE
        data = b"" if large else frame(body, compressed=coding is not None)  # what cannot be sent fails before the head
        if core.send_response_head(call.id, 200, head, False).stopped is not None:
            self.gone(call)
            return
        call.ended = call.headed = self.spoke = True
        if large:
            call.out = collections.deque((prefix(body, compressed=coding is not None), body))
            call.tail = tail
            self.pump(call)
            self.wake()
            return
        verdict = core.send_data(call.id, data, 0, False)
        if verdict.done and verdict.stopped is None and not verdict.flags & _HANDLED:
            self._close_stream(call, tail)
        else:
            call.out = collections.deque((data,))
            call.tail = tail
            self._account(call, verdict)
        self.wake()

    def refuse(self, call: Call, refused: Refused) -> None:
        if call.ended:
            return
        status = headers.status(refused)
        fields = HeaderMap(status if call.headed else [_CONTENT_TYPE, *status])
        call.ended = self.spoke = True
        if call.headed:
            call.tail = fields
            self.pump(call)
        else:
            verdict = self._core.send_response_head(call.id, 200, fields, True)
            self.after(verdict.flags)
            self._over(call)
        self.wake()

    def prepared(self, refused: Refused) -> Turned:
        """``refused`` in the form in which it is sent."""
        return Turned(refused, HeaderMap([_CONTENT_TYPE, *headers.status(refused)]))

    def turn_away(self, stream_id: int, turned: Turned) -> None:
        """Refuse a call for which nothing was done, at the least cost."""
        flags = self._core.send_response_head(stream_id, 200, turned.fields, True).flags
        if flags & _HANDLED:
            self.after(flags)
        self.spoke = self._urgent = True

    def send(self, call: Call, message: bytes) -> bool:
        if call.ended or not self._begun(call):
            return True
        if call.out is None:
            call.out = collections.deque()
        self.spoke = True
        call.out.append(frame(message))
        self.pump(call)
        self.wake()
        return not call.out

    def finish(self, call: Call) -> None:
        if call.ended or not self._begun(call):
            return
        call.ended = True
        call.tail = _OK
        self.pump(call)
        self.wake()

    def respond(self, call: Call, status: int, text: bytes) -> None:
        """Answer with a bare HTTP status and a text: the request was no gRPC call."""
        call.ended = True
        fields = HeaderMap([("content-type", b"text/plain"), ("grpc-status", b"2"), ("grpc-message", text)])
        verdict = self._core.send_response_head(call.id, status, fields, False)
        if verdict.stopped is None:
            call.out = collections.deque((text,))
            self.pump(call)
        self._over(call)
        self.wake()

    def credit(self, call: Call, size: int) -> None:
        flags = self._core.release_capacity(call.id, size)
        if flags:
            self.after(flags)
            self.wake()

    def reset(self, call: Call, reason: H2Reason) -> None:
        """Abort the stream, for a peer that cannot be told otherwise."""
        self.after(self._core.reset_stream(call.id, int(reason)).flags)
        self.gone(call)
        self.wake()

    def gone(self, call: Call) -> None:
        """The stream is no more: drop what was waiting for it and stop its handler."""
        call.ended = True
        call.out = call.tail = None
        call.drained()
        if call.inbox is not None:
            call.inbox.end()
        self._over(call)

    def closed(self, call: Call) -> None:
        call.work = None
        self._over(call)

    def pump(self, call: Call) -> None:
        """Queue as much of the call's output as its windows take, then its trailers."""
        while call.out:
            verdict = self._core.send_data(call.id, call.out[0], call.offset, call.alien > 0)
            if not self._account(call, verdict):
                return
        call.drained()
        tail, call.tail = call.tail, None
        if tail is not None:
            self._close_stream(call, tail)
        else:
            self._over(call)

    def goodbye(self, reason: H2Reason, text: bytes) -> None:
        """End the connection, and say why."""
        self.flush()
        if not self._transport.is_closing():
            self._transport.write(goaway(self._core.last_processed_id, reason, text))
            self._transport.close()

    def let_go(self) -> None:
        """Tell nobody any more: the socket is gone and no call is left."""
        self._on_end = self._on_done = _nothing

    def close(self) -> None:
        """Write what is ready and close the socket."""
        self.flush()
        self._transport.close()

    def after(self, flags: int) -> None:
        """Do what the core asks for after a step."""
        if flags & H2_FLAG_CAPACITY:
            self._turn = True
            self.wake()
        if flags & H2_FLAG_CONN_DONE:
            self._on_done()

    def wake(self) -> None:
        """Write what is queued before the loop's next turn ends."""
        if not self._due:
            self._due = True
            self._call_soon(self._flush_due)

    def settle(self) -> None:
        """Write what reading has queued: at once if a call was turned away, else as ``wake`` does.

        A refusal is worth most when it comes soon, and the rest of the turn belongs to those who are served.
        """
        if self._urgent:
            self._urgent = False
            self.flush()
        else:
            self.wake()

    def flush(self) -> None:
        """Write what is queued, as far as the socket takes it."""
        if self.paused or self._transport.is_closing():
            return
        while self._turn:
            self._turn = False
            waiting = self._core.next_capacity_wake()
            if isinstance(waiting, Call):
                self.pump(waiting)
        data, _ = self._core.take_pending()
        if data:
            self._transport.write(bytes(data))
        data.release()
        for waiting in self._core.credit_written():
            if isinstance(waiting, Call):
                self.pump(waiting)
                self.wake()

    def _flush_due(self) -> None:
        self._due = False
        self.flush()

    def _begun(self, call: Call) -> bool:
        if not call.headed:
            verdict = self._core.send_response_head(call.id, 200, _HEAD, False)
            if verdict.stopped is not None:
                self.gone(call)
                return False
            call.headed = True
        return True

    def _account(self, call: Call, verdict: H2SendVerdict) -> bool:
        """Take note of what ``send_data`` did with the first of ``call.out``; False when it must wait."""
        if verdict.stopped is not None:
            self.gone(call)
            return False
        assert call.out is not None  # noqa: S101  # pump and answer put it there
        if verdict.done:
            call.out.popleft()
            call.offset = 0
        else:
            call.offset += verdict.sent
        if verdict.sent:
            call.age = 0
        self.after(verdict.flags)
        return verdict.done or verdict.sent > 0

    def _close_stream(self, call: Call, tail: HeaderMap) -> None:
        self.after(self._core.send_trailers(call.id, tail).flags)
        self._over(call)

    def _over(self, call: Call) -> None:
        if call.ended and call.work is None and not call.out and call.tail is None:
            self._on_end(call)


def _nothing(*_: object) -> None:
    """Nobody listens."""
