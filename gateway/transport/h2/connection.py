"""One HTTP/2 connection: what arrives becomes calls.

Everything but the handlers is plain code inside loop callbacks: a reset cancels its handler the moment the frame
is read, and a caller who is gone cancels all of its calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

from gateway.errors import Code
from gateway.transport import compression, headers, request
from gateway.transport.framing import Assembler, whole_message
from gateway.transport.h2 import core as h2
from gateway.transport.h2.calls import Call, Inbox, Method, run_stream, run_unary, stopped
from gateway.transport.h2.sender import Sender
from gateway.transport.seam import Head, Limits, Refused

_ONE_MESSAGE = "a unary call takes exactly one message: "
_HTTP1_TEXT = b"this port speaks gRPC over HTTP/2 with prior knowledge: use a gRPC client\n"
_HTTP1_ANSWER = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_HTTP1_TEXT), _HTTP1_TEXT)
)


class Shared:
    """What the connections of one transport share: the method table by path, the limits, and who is alive."""

    def __init__(self, methods: Mapping[str, Method], limits: Limits, clock_ns: Callable[[], int]) -> None:
        self.methods = methods
        self.limits = limits
        self.clock_ns = clock_ns
        self.live: set[Connection] = set()
        self.timed: dict[Call, Connection] = {}  # calls with a deadline


class Connection(asyncio.Protocol):
    """Serves one socket. ``drain`` lets calls in flight finish; ``abort`` cancels them."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._limits = shared.limits
        self._core = h2.open_core(shared.limits)
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._opening: bytes | None = b""  # what came so far of the client's preface
        self._calls: set[Call] = set()
        self._draining = False
        self._transport: asyncio.Transport
        self._sender: Sender
        self._peer = ""
        self._certificate = b""

    # what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._sender = Sender(self._core, self._transport, self._forget, self._done)
        address = transport.get_extra_info("peername")
        self._peer = headers.canonical_host(address[0]) if isinstance(address, tuple) else ""
        tls = transport.get_extra_info("ssl_object")
        self._certificate = (tls.getpeercert(binary_form=True) or b"") if tls is not None else b""
        self._shared.live.add(self)

    def data_received(self, data: bytes) -> None:
        if self._opening is not None and not (data := self._greeted(data)):
            return
        try:
            for frame in self._core.receive(data):
                try:
                    self._dispatch(frame)
                except h2.H2StreamError as error:
                    self._stream_failed(error)
            self._sender.after(self._core.maybe_goaway_reply())
        except h2.H2Error as error:
            self._failed(error)
        self._sender.wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.live.discard(self)
        self._core.fail(None)
        for call in tuple(self._calls):
            self._gone(call)
        self.lost.set_result(None)

    def pause_writing(self) -> None:
        # Who does not read gets no more answers and may not ask for more either: memory stays bounded.
        self._sender.paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._sender.paused = False
        self._transport.resume_reading()
        self._sender.wake()

    # what the transport calls

    def expire(self, call: Call) -> None:
        """The call's deadline has passed: stop its handler, and say so once it has ended."""
        del self._shared.timed[call]
        call.expired = True
        if call.ended:  # answered, but the caller's window never opened
            self._sender.reset(call, h2.H2Reason.CANCEL)
        else:
            self._stop(call)

    def drain(self) -> None:
        """Say GOAWAY, and close when the calls in flight have ended."""
        self._draining = True
        if self._opening is not None:
            self._transport.close()
            return
        self._sender.after(self._core.begin_graceful_shutdown())
        self._sender.wake()

    def abort(self) -> list[asyncio.Task[None]]:
        """Cancel the calls in flight; their callers get UNAVAILABLE. Returns the tasks that are still ending."""
        for call in tuple(self._calls):
            self._stop(call)
        return [call.task for call in self._calls if call.task is not None]

    def close(self) -> None:
        """Write what is ready and close the socket."""
        self._sender.flush()
        self._transport.close()

    # frames

    def _dispatch(self, frame: h2.Frame) -> None:
        if isinstance(frame, h2.H2FrameData):
            self._data(frame)
        elif isinstance(frame, h2.H2FrameHeaders):
            self._headers(frame)
        elif isinstance(frame, h2.H2FrameWindowUpdate):
            self._window(self._core.recv_window_update(frame))
        elif isinstance(frame, h2.H2FrameRstStream):
            reset = self._core.recv_reset(frame)
            if reset is not None:
                self._gone(cast("Call", reset[0]))
                self._sender.after(reset[3])
        elif isinstance(frame, h2.H2FramePing):
            self._sender.after(self._core.recv_ping(frame))
            self._rest()
        elif isinstance(frame, h2.H2FrameSettings):
            _, waiting, flags = self._core.recv_settings(frame)
            self._window(waiting)
            self._sender.after(flags)
        elif isinstance(frame, h2.H2FrameGoAway):
            aborted, flags = self._core.recv_go_away(frame)
            for call, _ in aborted:
                self._gone(cast("Call", call))
            self._sender.after(flags)
        elif isinstance(frame, h2.H2FrameStreamError):
            raise h2.H2StreamError(frame.stream_id, frame.error_code, "library")

    def _headers(self, frame: h2.H2FrameHeaders) -> None:
        call = Call()
        verdict = self._core.recv_headers(frame, call)
        if verdict.kind == h2.H2_HEADERS_OPENED:
            call.id = verdict.stream_id
            self._calls.add(call)
            self._core.accepted(call.id)
            self._open(call, frame)
            if verdict.eof:
                self._end_of_body(call)
        elif verdict.kind == h2.H2_HEADERS_TRAILERS:
            self._end_of_body(cast("Call", verdict.handle))
        if verdict.flags:
            self._sender.after(verdict.flags)

    def _data(self, frame: h2.H2FrameData) -> None:
        verdict = self._core.recv_data(frame)
        call = cast("Call | None", verdict.handle)
        if call is not None:
            payload = verdict.payload
            if payload is not None:
                if verdict.budgeted:
                    self._core.release_data_frame(call.id, len(payload))
                self._body(call, payload, verdict.eof)
            if verdict.eof:
                self._end_of_body(call)
        if verdict.flags:
            self._sender.after(verdict.flags)

    # calls

    def _open(self, call: Call, frame: h2.H2FrameHeaders) -> None:
        if frame.method != "POST" or not request.is_grpc(frame.headers.get("content-type")):
            status, text = (405, b"use POST") if frame.method != "POST" else (415, b"send application/grpc")
            self._sender.respond(call, status, text)
            return
        try:
            method = self._shared.methods.get(frame.path or "")
            fields = request.read(frame.headers.items(), self._limits.max_metadata_bytes)
            if method is None:
                raise Refused(Code.UNIMPLEMENTED, f"unknown method {(frame.path or '')[:200]}")
        except Refused as refused:
            self._sender.refuse(call, refused)
            return
        if fields.timeout_ns is not None:
            call.deadline_ns = self._shared.clock_ns() + fields.timeout_ns
            self._shared.timed[call] = self
        call.method = method
        call.encoding = fields.encoding
        call.head = Head(
            method=method.name,
            metadata=fields.metadata,
            deadline_ns=call.deadline_ns,
            peer=self._peer,
            certificate=self._certificate,
        )
        if method.stream is not None:
            call.inbox = Inbox(self._sender, call)
            call.assembler = Assembler(self._limits.max_message_bytes)
            call.task = self._loop.create_task(run_stream(self._sender, call, method.stream, call.inbox))

    def _body(self, call: Call, payload: bytes, last: bool) -> None:
        if call.inbox is not None:
            call.inbox.arrived(len(payload))
        else:
            self._sender.credit(call, len(payload))
        if call.ended or (call.inbox is not None and call.inbox.ended):
            return
        if last and call.assembler is None and len(payload) <= self._limits.max_message_bytes:
            message = whole_message(payload)
            if message is not None:
                self._message(call, message)
                return
        try:
            self._assemble(call, payload)
        except Refused as refused:
            self._refuse(call, refused)

    def _assemble(self, call: Call, payload: bytes) -> None:
        limit = self._limits.max_message_bytes
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

    def _end_of_body(self, call: Call) -> None:
        if call.ended:
            return
        if call.assembler is not None and call.assembler.unfinished:
            self._refuse(call, Refused(Code.INTERNAL, "the body ends inside a message"))
        elif call.inbox is not None:
            call.inbox.end()
        elif call.message is None:
            self._refuse(call, Refused(Code.UNIMPLEMENTED, f"{_ONE_MESSAGE}none came"))
        else:
            body, call.message = call.message, None
            handler = call.method.unary
            assert handler is not None  # noqa: S101  # a method without an inbox is unary
            call.task = self._loop.create_task(run_unary(self._sender, call, handler, body))

    def _refuse(self, call: Call, refused: Refused) -> None:
        if call.inbox is not None:
            call.inbox.end(refused)  # the handler ends with it, having said what it knows already
        else:
            self._sender.refuse(call, refused)

    def _stop(self, call: Call) -> None:
        """End a call that may still be told why: by its handler if one runs, else at once."""
        task = call.task
        if task is not None:
            task.cancel()
            if call.started:
                return
            call.task = None  # cancelled before its first step: the task will tell nobody
        self._sender.refuse(call, stopped(call))

    def _gone(self, call: Call) -> None:
        """The caller is gone: drop what was for it and stop its handler."""
        task = call.task
        if task is not None:
            task.cancel()
            if not call.started:
                call.task = None
        self._sender.gone(call)

    def _forget(self, call: Call) -> None:
        self._calls.discard(call)
        if call.deadline_ns is not None:
            self._shared.timed.pop(call, None)
        if self._draining and not self._calls:
            self._loop.call_soon(self._rest)

    # ends

    def _window(self, waiting: list[object]) -> None:
        for call in waiting:
            self._sender.pump(cast("Call", call))

    def _stream_failed(self, error: h2.H2StreamError) -> None:
        stream_id, reason, initiator = error.args
        if initiator == "remote":
            return
        verdict = self._core.reset_on_error(stream_id, reason)
        if verdict.handle is not None:
            self._gone(cast("Call", verdict.handle))
        self._sender.after(verdict.flags)

    def _failed(self, error: h2.H2Error) -> None:
        """The peer broke the protocol: GOAWAY with the reason, and the end."""
        reason = error.args[0] if error.args and isinstance(error.args[0], int) else int(h2.H2Reason.PROTOCOL_ERROR)
        self._core.send_goaway(reason)
        self.close()

    def _done(self) -> None:
        self._loop.call_soon(self.close)

    def _rest(self) -> None:
        """Close a drained connection, once the peer knows that it is one."""
        if self._draining and not self._calls and self._core.shutdown_final:
            self.close()

    def _greeted(self, data: bytes) -> bytes:
        """Return the first bytes of an HTTP/2 connection once its preface is whole, b"" until then."""
        assert self._opening is not None  # noqa: S101  # the caller looked
        opening = self._opening + data
        verdict = h2.is_preface(opening)
        if verdict is None:
            self._opening = opening
            return b""
        if not verdict:
            if opening[:1].isupper():
                self._transport.write(_HTTP1_ANSWER)
            self._transport.close()
            return b""
        self._opening = None
        self._core.begin()
        return opening
