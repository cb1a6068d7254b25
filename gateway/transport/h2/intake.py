"""What arrives on one connection becomes calls: heads are judged, bodies become messages, handlers start.

Nothing here waits. Limits hold before a byte is kept: a message is refused by its prefix.
"""

from __future__ import annotations

import asyncio
import functools

from gateway.errors import Code
from gateway.transport import compression, request
from gateway.transport.framing import Assembler, whole_message
from gateway.transport.h2.call import Call, stopped
from gateway.transport.h2.core import H2FrameHeaders, H2Reason
from gateway.transport.h2.method import Method, Turned
from gateway.transport.h2.sender import Sender
from gateway.transport.h2.shared import Shared
from gateway.transport.h2.tasks import Inbox, run_stream, run_unary
from gateway.transport.seam import Entry, Head, Refused

_ONE_MESSAGE = "a unary call takes exactly one message: "
_TASKS_PER_STREAM = 2  # handlers that still run after their stream was reset count against the connection
_TOO_MANY = "too many cancelled calls are still ending on this connection: try again later"
_ALIEN = {405: b"gRPC calls are POST requests", 415: b"gRPC calls have content-type application/grpc"}
_USUAL, _EXCESS = Entry.USUAL, Entry.EXCESS  # looked up once: to reach a member of an enumeration takes 0.1 us
_RETRY_SOON = (("grpc-retry-pushback-ms", b"1000"),)


class Intake:
    """Opens and ends the calls of one connection. ``peer`` and ``certificate`` are those of its socket.

    ``calls`` are those whose answer is not on its way yet, or whose handler still runs.
    """

    def __init__(self, shared: Shared, sender: Sender, *, peer: str, certificate: bytes) -> None:
        self._shared = shared
        self._methods = shared.methods
        self._max_message_bytes = shared.limits.max_message_bytes
        self._max_metadata_bytes = shared.limits.max_metadata_bytes
        self._max_calls = _TASKS_PER_STREAM * shared.limits.max_streams
        self._starts = shared.starts
        self._sender = sender
        self._peer = peer
        self._certificate = certificate
        self._turned: Turned | None = None
        self._full: Method | None = None  # of which nobody else is let in until what has come is read
        self._again = 0
        self.calls: set[Call] = set()
        # All have one name: to make one for each takes half a microsecond, and nobody reads it.
        self._create_task = functools.partial(asyncio.Task, loop=asyncio.get_running_loop(), name="call")

    def entry(self, frame: H2FrameHeaders) -> Entry | Turned:
        """How the call whose head has come is let in, or what stands for one that is refused when its body begins."""
        method = self._methods.get(frame.path or "")
        if method is None or method.shed is None:
            return _USUAL
        starts, turned = self._starts, self._turned
        if method is self._full and turned is not None:
            self._again += 1
            return turned
        refused = method.shed(self._peer, starts.calls, None)
        if turned is not None and turned.refused is refused:
            self.settle()
            self._full = method
            return turned
        if refused is _USUAL and starts.late:  # only now: in a flood most are refused, whatever they would wait
            left_ns = request.patience_ns(frame.headers.get("grpc-timeout"))
            if left_ns is not None:
                refused = method.shed(self._peer, starts.calls, left_ns)
        if isinstance(refused, Entry):
            return refused
        if turned is None or turned.refused is not refused:
            self.settle()
            turned = self._turned = self._sender.prepared(refused)
        return turned

    def settle(self) -> None:
        """What came at once was read, or a call has ended meanwhile: ask anew about whoever comes next. In a flood most
        of what comes at once is turned away with the first for whom there was no room."""
        full, again = self._full, self._again
        self._full, self._again = None, 0
        if again and full is not None and full.shed is not None:
            full.shed.again(self._peer, again)

    def open(self, call: Call, frame: H2FrameHeaders, entry: Entry) -> None:
        """The head has come. A unary call now waits for its message; a stream's handler starts at once."""
        if len(self.calls) >= self._max_calls:
            self._sender.refuse(call, Refused(Code.RESOURCE_EXHAUSTED, _TOO_MANY, _RETRY_SOON))
            return
        self.calls.add(call)
        if frame.method is None or frame.scheme is None or not frame.path or frame.status is not None:
            self._sender.reset(call, H2Reason.PROTOCOL_ERROR)  # RFC 9113, 8.3.1: malformed
            return
        if frame.method != "POST" or not request.is_grpc(frame.headers.get("content-type")):
            call.alien = 405 if frame.method != "POST" else 415
            return
        try:
            self._judge(call, frame, entry)
        except Refused as refused:
            self._sender.refuse(call, refused)
            return
        if call.deadline_ns is not None:
            self._shared.timed[call] = self.expire
        handler = call.method.stream
        if handler is not None:
            call.inbox = Inbox(self._sender, call, self.consumed)
            call.work = self._create_task(run_stream(self._sender, call, handler, call.inbox))

    def body(self, call: Call, payload: bytes, last: bool) -> None:
        """Bytes have come; ``last`` when none will follow."""
        inbox = call.inbox
        if inbox is None:
            self._sender.credit(call, len(payload))
        else:
            inbox.arrived(len(payload))
        if call.ended or call.alien or (inbox is not None and inbox.ended):
            return
        if last and call.assembler is None and inbox is None and len(payload) <= self._max_message_bytes:
            call.message = whole_message(payload)
            if call.message is not None:
                return
        try:
            self._assemble(call, payload)
        except Refused as refused:
            self._fail(call, refused)

    def end(self, call: Call) -> None:
        """The caller has said all: a unary handler starts, a stream's iterator ends."""
        if call.ended:
            return
        if call.alien:
            self._sender.respond(call, call.alien, _ALIEN[call.alien])
        elif call.assembler is not None and call.assembler.unfinished:
            self._fail(call, Refused(Code.INTERNAL, "the body ends inside a message"))
        elif call.inbox is not None:
            call.inbox.end()
        elif call.message is None:
            self._fail(call, Refused(Code.UNIMPLEMENTED, f"{_ONE_MESSAGE}none came"))
        else:
            self._starts.add(call, self._start, first=call.head.excess)

    def forget(self, call: Call) -> None:
        """The call is over: answered or gone, and its handler has ended."""
        self.calls.discard(call)
        call.inbox = None  # which knows the call: a circle
        if call.deadline_ns is not None:
            self._shared.timed.pop(call, None)
        if call.charged:
            self.consumed(call, call.charged)

    def consumed(self, call: Call, size: int) -> None:
        """The handler has taken a message of ``size`` bytes, which leaves the budget."""
        size = min(size, call.charged)  # a message may have grown by decompression
        call.charged -= size
        self._shared.budget.give(size)

    def look(self, max_looks: int) -> None:
        """End the calls that waited more than ``max_looks`` looks for their body, or for room in the window."""
        for call in tuple(self.calls):
            if call.work is None or call.out:
                call.age += 1
                if call.age <= max_looks:
                    continue
                if call.out:
                    self._sender.reset(call, H2Reason.CANCEL)
                else:
                    self._sender.refuse(call, Refused(Code.DEADLINE_EXCEEDED, "the request took too long to arrive"))

    def expire(self, call: Call) -> None:
        """The call's deadline has passed: stop its handler, and say so once that has ended."""
        self._shared.timed.pop(call, None)
        if call.out or call.tail is not None:
            self._sender.reset(call, H2Reason.CANCEL)  # answered, but the caller's window does not open
        else:
            call.expired = True
            self.stop(call)

    def stop(self, call: Call) -> None:
        """End a call that may still be told why: by its handler if one runs, else at once."""
        if call.ended:
            return
        if call.work is not None:
            call.cancel()
            if call.started:
                return
            self._never(call)
        self._sender.refuse(call, stopped(call))

    def gone(self, call: Call | Turned) -> None:
        """The caller is gone: drop what was for it and stop its handler."""
        if isinstance(call, Turned):
            return
        self.settle()
        call.ended = True  # before its work may end, and would say so
        if call.work is not None:
            call.cancel()
            if not call.started:
                self._never(call)
        self._sender.gone(call)

    def _never(self, call: Call) -> None:
        """Let go of a task that was cancelled before its first step: it will tell nobody."""
        call.work = None
        if call.inbox is None:
            self._starts.calls -= 1

    def _start(self, call: Call) -> None:
        body, call.message = call.message, None
        prompt, handler = call.method.prompt, call.method.unary
        assert handler is not None and body is not None  # noqa: S101, PT018  # what has both is a whole unary call
        if prompt is not None:
            call.begin(self._sender, prompt, body, self._starts)
        else:
            call.work = self._create_task(run_unary(self._sender, call, handler, body, self._starts))

    def _judge(self, call: Call, frame: H2FrameHeaders, entry: Entry) -> None:
        fields = request.read(frame.headers.items(), self._max_metadata_bytes)
        method = self._methods.get(frame.path or "")
        if method is None:
            raise Refused(Code.UNIMPLEMENTED, f"unknown method {(frame.path or '')[:200]}")
        if fields.timeout_ns is not None:
            call.deadline_ns = self._shared.clock_ns() + fields.timeout_ns
        call.method = method
        call.encoding = fields.encoding
        if self._shared.compress_min_bytes:
            call.coding = compression.choose(fields.accepted)
        call.head = Head(
            method=method.name,
            metadata=fields.metadata,
            deadline_ns=call.deadline_ns,
            peer=self._peer,
            certificate=self._certificate,
            excess=entry is _EXCESS,
        )

    def _assemble(self, call: Call, payload: bytes) -> None:
        limit = self._max_message_bytes
        if not self._shared.budget.take(len(payload)):
            text = "the server holds too many unfinished requests: try again later"
            raise Refused(Code.RESOURCE_EXHAUSTED, text, _RETRY_SOON)
        call.charged += len(payload)
        if call.assembler is None:
            call.assembler = Assembler(limit)
        for compressed, message in call.assembler.feed(payload):
            self._message(call, compression.decompress(call.encoding, message, limit) if compressed else message)

    def _message(self, call: Call, message: bytes) -> None:
        if call.inbox is not None:
            call.inbox.put(message)
        elif call.message is None:
            call.message = message
        else:
            raise Refused(Code.UNIMPLEMENTED, f"{_ONE_MESSAGE}a second one came")

    def _fail(self, call: Call, refused: Refused) -> None:
        call.assembler = call.message = None
        if call.inbox is not None:
            call.inbox.end(refused)  # the handler ends with it, once it has read what came before
        else:
            self._sender.refuse(call, refused)
