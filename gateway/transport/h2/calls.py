"""A gRPC call on an HTTP/2 stream: what arrived, the task that serves it, what still has to leave.

The connection that owns the stream is a ``Wire``.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec

from gateway.errors import Code
from gateway.transport.framing import PREFIX_BYTES, Assembler
from gateway.transport.h2.core import HeaderMap
from gateway.transport.seam import Answer, Head, Refused, Shed, Stream, Unary

log = logging.getLogger(__name__)

_FAILED = "transport.handler_failed"
_BUG = Refused(Code.INTERNAL, "internal error")
_MESSAGE_BYTES = 64  # what keeping a message costs beside its bytes
_HIGH_WATER = 256 * 1024  # bytes of unread messages after which a stream's sender is held back


class Method(msgspec.Struct, frozen=True):
    """One row of the method table; exactly one of the handlers is there."""

    name: str
    unary: Unary | None = None
    stream: Stream | None = None
    shed: Shed | None = None


class Running(Protocol):
    """Counts in ``calls`` the unary handlers of a worker that run or are about to."""

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
        """The call's task has ended."""
        ...


class Call:
    """One call. Mutable; owned by its connection and its own task, which share one thread.

    ``ended`` means that nothing more may be sent: a status left, or the stream is gone. ``expired`` tells that
    the deadline, not the caller, ended it.
    """

    __slots__ = (
        "_drained",
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
        "task",
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
        self.task: asyncio.Task[None] | None = None
        self.message: bytes | None = None
        self.assembler: Assembler | None = None
        self.inbox: Inbox | None = None
        self.deadline_ns: int | None = None
        self.out: collections.deque[bytes] | None = None
        self.tail: HeaderMap | None = None
        self.offset = 0
        self._drained: asyncio.Future[None] | None = None

    async def sent(self) -> None:
        """Return once all that was sent so far is on its way, or never will be."""
        if self.out and not self.ended:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def drained(self) -> None:
        """Wake whoever waits in ``sent``."""
        waiter, self._drained = self._drained, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Turned(msgspec.Struct, frozen=True):
    """Stands for every call of a connection that is turned away with ``refused``, whose ``fields`` are made once."""

    refused: Refused
    fields: HeaderMap


class Inbox(AsyncIterator[bytes]):
    """The messages of a stream, in order, as its handler's iterator. Bounded: reading gives credit.

    ``on_read`` hears of every message that the handler takes, and its size.
    """

    __slots__ = ("_call", "_debt", "_error", "_held", "_messages", "_on_read", "_waiter", "_wire", "ended")

    def __init__(self, wire: Wire, call: Call, on_read: Callable[[Call, int], None]) -> None:
        self._wire = wire
        self._on_read = on_read
        self._call = call
        self._messages: collections.deque[bytes] = collections.deque()
        self._held = 0
        self._debt = 0
        self.ended = False
        self._error: Refused | None = None
        self._waiter: asyncio.Future[None] | None = None

    def arrived(self, size: int) -> None:
        """Account for ``size`` bytes from the wire: credit them now, or once the handler has read on."""
        if self._held > _HIGH_WATER:
            self._debt += size
        else:
            self._wire.credit(self._call, size)

    def put(self, message: bytes) -> None:
        self._messages.append(message)
        self._held += len(message) + _MESSAGE_BYTES
        self._wake()

    def end(self, error: Refused | None = None) -> None:
        """No message will follow: the iterator ends, or raises ``error``."""
        self.ended, self._error = True, error
        self._wake()

    async def __anext__(self) -> bytes:
        while not self._messages:
            if self._error is not None:
                raise self._error
            if self.ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        message = self._messages.popleft()
        self._held -= len(message) + _MESSAGE_BYTES
        self._on_read(self._call, len(message) + PREFIX_BYTES)
        if self._debt and self._held <= _HIGH_WATER:
            debt, self._debt = self._debt, 0
            self._wire.credit(self._call, debt)
        return message

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


async def run_unary(wire: Wire, call: Call, handler: Unary, body: bytes, running: Running) -> None:
    """Serve a unary call that is counted in ``running``. Whatever happens, the caller gets a status and nothing of ours
    leaks."""
    call.started = True
    try:
        wire.answer(call, await handler(call.head, body))
    except Refused as refused:
        _refuse(wire, call, refused)
    except asyncio.CancelledError:
        wire.refuse(call, stopped(call))
    except Exception:
        log.exception(_FAILED, extra={"method": call.method.name})
        wire.refuse(call, _BUG)
    finally:
        running.calls -= 1
        wire.closed(call)


async def run_stream(wire: Wire, call: Call, handler: Stream, inbox: Inbox) -> None:
    """Serve a bidirectional stream; its iterator is closed on every way out."""
    call.started = True
    answers = handler(call.head, inbox)
    try:
        async for answer in answers:
            if not wire.send(call, answer):
                await call.sent()
            if call.ended:  # nobody listens: a handler that never waits would not learn it otherwise
                break
        wire.finish(call)
    except Refused as refused:
        _refuse(wire, call, refused)
    except asyncio.CancelledError:
        wire.refuse(call, stopped(call))
    except Exception:
        log.exception(_FAILED, extra={"method": call.method.name})
        wire.refuse(call, _BUG)
    finally:
        wire.closed(call)
        await _close(answers, call)


def stopped(call: Call) -> Refused:
    """Return the status of a call whose task was cancelled, for those who can still hear it."""
    if call.expired:
        return Refused(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
    return Refused(Code.UNAVAILABLE, "the server is shutting down: try again elsewhere")


def _refuse(wire: Wire, call: Call, refused: Refused) -> None:
    try:
        wire.refuse(call, refused)
    except (TypeError, ValueError):  # trailers that HTTP/2 cannot carry
        log.exception(_FAILED, extra={"method": call.method.name})
        wire.refuse(call, _BUG)


async def _close(answers: AsyncIterator[bytes], call: Call) -> None:
    close = getattr(answers, "aclose", None)
    if close is None:
        return
    try:
        await close()
    except Exception:
        log.exception(_FAILED, extra={"method": call.method.name})
