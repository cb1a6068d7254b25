"""A gRPC call on an HTTP/2 stream: what arrived, the work that serves it, what still has to leave.

The connection that owns the stream is a ``Wire``.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from typing import Protocol

from gateway.errors import Code
from gateway.transport.framing import Assembler
from gateway.transport.h2.core import HeaderMap
from gateway.transport.h2.method import Method
from gateway.transport.seam import Answer, Head, Prompt, Refused, Work

log = logging.getLogger(__name__)

FAILED = "transport.handler_failed"
BUG = Refused(Code.INTERNAL, "internal error")


class Running(Protocol):
    """Counts in ``calls`` the unary calls of a worker whose handlers run or are about to."""

    calls: int


class Wire(Protocol):
    """The connection, as a call sees it. All of it is plain code that never waits."""

    def answer(self, call: Call, answer: Answer) -> None:
        """Send head, message and OK; what does not fit the window now follows by itself.

        Raises: what the codec raises for trailers that cannot be sent; nothing was sent then.
        """
        ...

    def refuse(self, call: Call, refused: Refused) -> None:
        """End the call with a status. A call that has ended already is left alone. Raises: as ``answer``."""
        ...

    def send(self, call: Call, message: bytes) -> bool:
        """Send one message of a stream. False when the caller's window is full: await ``call.sent()``."""
        ...

    def finish(self, call: Call) -> None:
        """End a stream with OK."""
        ...

    def credit(self, call: Call, size: int) -> None:
        """Let the caller send ``size`` bytes more."""
        ...

    def closed(self, call: Call) -> None:
        """The call's work has ended."""
        ...


class Messages(Protocol):
    """What arrives on a stream, as the connection sees it."""

    @property
    def ended(self) -> bool: ...

    def arrived(self, size: int) -> None:
        """Account for ``size`` bytes from the wire."""
        ...

    def put(self, message: bytes) -> None: ...

    def end(self, error: Refused | None = None) -> None:
        """No message will follow; with ``error`` the stream ends so."""
        ...


class Beginning:
    """The work of a call whose handler has not said yet what it is."""

    def cancel(self) -> None:
        """Nothing can ask for this: everything happens on one thread."""


_BEGINNING = Beginning()


class Call:
    """One call. Mutable; owned by its connection and its own work, which share one thread. It is what a handler without
    a task tells the end to.

    ``ended`` means that nothing more may be sent: a status left, or the stream is gone. ``expired`` tells that
    the deadline, not the caller, ended it. ``work`` is there from the handler's start to its end.
    """

    __slots__ = (
        "_drained",
        "_running",
        "_wire",
        "age",
        "alien",
        "assembler",
        "charged",
        "coding",
        "deadline_ns",
        "encoding",
        "ended",
        "expired",
        "head",
        "headed",
        "id",
        "inbox",
        "message",
        "method",
        "offset",
        "out",
        "started",
        "tail",
        "work",
    )

    head: Head
    method: Method

    def __init__(self) -> None:
        self.id = 0
        self.alien = 0  # the HTTP status of a request that is no gRPC call, answered once it is complete
        self.age = 0  # in looks of the watchdog, while it waits for bytes to come or to leave
        self.charged = 0  # bytes of the worker's budget that it holds
        self.encoding: bytes | None = None  # how compressed messages come
        self.coding: str | None = None  # how its answer may be compressed
        self.ended = False
        self.expired = False
        self.headed = False
        self.started = False
        self.work: Work | None = None
        self._wire: Wire | None = None
        self._running: Running | None = None
        self.message: bytes | None = None
        self.assembler: Assembler | None = None
        self.inbox: Messages | None = None
        self.deadline_ns: int | None = None
        self.out: collections.deque[bytes] | None = None
        self.tail: HeaderMap | None = None
        self.offset = 0
        self._drained: asyncio.Future[None] | None = None

    def begin(self, wire: Wire, handler: Prompt, body: bytes, running: Running) -> None:
        """Serve a unary call that is counted in ``running``, without a task. Raises nothing of the handler's."""
        self.started = True
        self._wire, self._running = wire, running
        self.work = _BEGINNING
        try:
            work = handler(self.head, body, self)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            log.exception(FAILED, extra={"method": self.method.name})
            self.refuse(BUG)
        else:
            if self._wire is not None:
                self.work = work

    def cancel(self) -> None:
        """Stop the work, if there is any. Raises nothing of its own."""
        if self.work is not None:
            try:
                self.work.cancel()
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                log.exception(FAILED, extra={"method": self.method.name})

    def answer(self, answer: Answer) -> None:
        """See ``Told``."""
        wire = self._wire
        if wire is None:  # it was told before
            return
        try:
            wire.answer(self, answer)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            log.exception(FAILED, extra={"method": self.method.name})
            self.refuse(BUG)
        else:
            self._end(wire)

    def refuse(self, refused: Refused) -> None:
        """See ``Told``."""
        wire = self._wire
        if wire is None:
            return
        try:
            refuse(wire, self, refused)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # nothing can be sent: the call is over all the same
            log.exception(FAILED, extra={"method": self.method.name})
        self._end(wire)

    def stopped(self) -> None:
        """See ``Told``."""
        self.refuse(stopped(self))

    def _end(self, wire: Wire) -> None:
        running, self._running = self._running, None
        self._wire = None  # which knows the call: a circle
        if running is not None:
            running.calls -= 1
        wire.closed(self)

    def sent(self) -> asyncio.Future[None]:
        """Done once all that was sent so far is on its way, or never will be."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.out and not self.ended:
            self._drained = waiter
        else:
            waiter.set_result(None)
        return waiter

    def drained(self) -> None:
        """Wake whoever waits in ``sent``."""
        waiter, self._drained = self._drained, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def stopped(call: Call) -> Refused:
    """Return the status of a call whose task was cancelled, for those who can still hear it."""
    if call.expired:
        return Refused(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
    return Refused(Code.UNAVAILABLE, "the server is shutting down: try again elsewhere")


def refuse(wire: Wire, call: Call, refused: Refused) -> None:
    """End ``call`` with ``refused``, or with INTERNAL if its trailers cannot be sent."""
    try:
        wire.refuse(call, refused)
    except (TypeError, ValueError):  # trailers that HTTP/2 cannot carry
        log.exception(FAILED, extra={"method": call.method.name})
        wire.refuse(call, BUG)
