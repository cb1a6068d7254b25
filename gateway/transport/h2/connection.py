"""One HTTP/2 connection as the event loop and the transport see it: how it begins, lasts and ends."""

from __future__ import annotations

import asyncio
import random
from typing import cast

from gateway.transport import headers
from gateway.transport.h2.call import Call
from gateway.transport.h2.core import is_preface, max_silence, open_core
from gateway.transport.h2.intake import Intake
from gateway.transport.h2.reader import Reader
from gateway.transport.h2.sender import Sender
from gateway.transport.h2.shared import Shared
from gateway.transport.lifetime import Lifetime, Verdict

_CLOSING_LOOKS = 4
_HTTP1_TEXT = b"this port speaks gRPC over HTTP/2 with prior knowledge: use a gRPC client\n"
_HTTP1_ANSWER = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_HTTP1_TEXT), _HTTP1_TEXT)
)


class Connection(asyncio.Protocol):
    """Serves one socket, and is in ``live`` while it is open. Everything but the handlers runs in loop callbacks.

    ``drain`` lets calls in flight finish; ``abort`` cancels them; ``lost`` is done when the socket is closed.
    """

    def __init__(self, shared: Shared, live: set[Connection]) -> None:
        self._shared = shared
        self._live = live
        self._core = open_core(shared.limits)
        self._loop = asyncio.get_running_loop()
        self._lifetime = Lifetime(shared.limits, shared.clock_ns(), random.random())  # noqa: S311  # spreads load
        self._opening: bytes | None = b""  # what came so far of the client's preface
        self._draining = False
        self._aborted = False
        self._closing_looks = 0
        self._transport: asyncio.Transport
        self._sender: Sender
        self._intake: Intake
        self._reader: Reader
        self.lost: asyncio.Future[None] = self._loop.create_future()

    # what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._live.add(self)
        if len(self._live) > self._shared.limits.max_connections:
            self._transport.abort()
        self._sender = Sender(
            self._core,
            self._transport,
            compress_min_bytes=self._shared.compress_min_bytes,
            on_end=self._ended,
            on_done=lambda: self._loop.call_soon(self._finished),
        )
        address = transport.get_extra_info("peername")
        tls = transport.get_extra_info("ssl_object")
        self._intake = Intake(
            self._shared,
            self._sender,
            peer=headers.canonical_host(address[0]) if isinstance(address, tuple) else "",
            certificate=(tls.getpeercert(binary_form=True) or b"") if tls is not None else b"",
        )
        self._reader = Reader(
            self._core,
            self._sender,
            self._intake,
            self._lifetime,
            max_silence=max_silence(self._shared.limits),
            on_ack=self._rest,
            clock_ns=self._shared.clock_ns,
        )

    def data_received(self, data: bytes) -> None:
        if self._opening is None:
            self._reader.receive(data)
        elif opening := self._greeted(data):
            self._reader.receive(opening)
            if self._draining:
                self._say_goaway()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._live.discard(self)
        self._core.fail(None)
        for call in tuple(self._intake.calls):
            self._intake.gone(call)
        self.lost.set_result(None)
        self._let_go()

    def pause_writing(self) -> None:
        # Who does not read gets no more answers and may not ask for more either: memory stays bounded.
        self._sender.paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._sender.paused = False
        self._transport.resume_reading()
        self._sender.wake()

    # what the transport calls

    def look(self, now_ns: int, max_looks: int) -> None:
        """Find what takes too long: calls that wait ``max_looks`` looks for bytes, and the connection itself."""
        if self._transport.is_closing():
            self._closing_looks += 1
            if self._closing_looks > _CLOSING_LOOKS:
                self._transport.abort()  # it reads nothing, not even the end
            return
        if max_looks:
            self._intake.look(max_looks)
        calls = len(self._intake.calls)
        verdict = self._lifetime.look(now_ns, greeted=self._reader.settled, calls=calls)
        if verdict is Verdict.DRAIN:
            self.drain(self._shared.limits.max_age_grace_s)
        elif verdict is Verdict.CLOSE:
            if self._aborted or not calls:
                self.close()
            self.abort()

    def drain(self, grace_s: float) -> None:
        """Say GOAWAY, and close when the calls in flight have ended; ``look`` ends it ``grace_s`` later.

        A peer that has not spoken yet is about to, and hears GOAWAY then: to be cut off while it connects would fail
        the first call of many a client.
        """
        self._draining = True
        self._lifetime.draining(self._shared.clock_ns(), grace_s)
        if self._opening is None:
            self._say_goaway()

    def _say_goaway(self) -> None:
        self._sender.after(self._core.begin_graceful_shutdown())
        self._sender.wake()

    def abort(self) -> list[Call]:
        """Cancel the calls in flight; their callers get UNAVAILABLE. Returns those whose work is still ending."""
        self._aborted = True
        calls = self._intake.calls
        for call in tuple(calls):
            self._intake.stop(call)
        return [call for call in calls if call.work is not None]

    def close(self) -> None:
        """Write what is ready and close the socket."""
        self._sender.close()

    def kill(self) -> None:
        """Drop the socket and what is still to be written."""
        self._transport.abort()

    def _ended(self, call: Call) -> None:
        self._intake.forget(call)
        if self.lost.done():
            self._let_go()
        elif self._draining and not self._intake.calls:
            self._loop.call_soon(self._rest)

    def _let_go(self) -> None:
        """Break the circles through which a connection that is gone would wait for the collector, which looks so seldom
        that a thousand of them (40 kB each) would be kept meanwhile."""
        if not self._intake.calls:
            self._sender.let_go()
            self._reader.let_go()

    def _finished(self) -> None:
        """Close what we have drained. A peer that said GOAWAY hangs up itself, or is closed by ``look``: to close under
        what it still sends would be a reset, which could take from it what it has not read yet."""
        if self._draining:
            self.close()
        else:
            self._lifetime.draining(self._shared.clock_ns(), self._shared.limits.max_age_grace_s)

    def _rest(self) -> None:
        """Close a drained connection, once the peer knows that it is one."""
        if self._draining and not self._intake.calls and self._core.shutdown_final:
            self.close()

    def _greeted(self, data: bytes) -> bytes:
        """Return the first bytes of an HTTP/2 connection once its preface is whole, b"" until then."""
        opening = (self._opening or b"") + data
        verdict = is_preface(opening)
        if verdict is None:
            self._opening = opening
            return b""
        if not verdict:
            if b" HTTP/1." in opening.partition(b"\r\n")[0]:
                self._transport.write(_HTTP1_ANSWER)
            self._transport.close()
            return b""
        self._opening = None
        self._core.begin()
        return opening
