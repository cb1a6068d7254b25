"""Calls that are served by tasks: unary ones whose handlers wait, and streams, with the inbox that they read from."""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import AsyncIterator, Callable

from gateway.transport.framing import PREFIX_BYTES
from gateway.transport.h2.call import BUG, FAILED, Call, Running, Wire, refuse, stopped
from gateway.transport.seam import Refused, Stream, Unary

log = logging.getLogger(__name__)

_MESSAGE_BYTES = 64  # what keeping a message costs beside its bytes
_HIGH_WATER = 256 * 1024  # bytes of unread messages after which a stream's sender is held back


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
        refuse(wire, call, refused)
    except asyncio.CancelledError:
        wire.refuse(call, stopped(call))
    except Exception:
        log.exception(FAILED, extra={"method": call.method.name})
        wire.refuse(call, BUG)
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
        refuse(wire, call, refused)
    except asyncio.CancelledError:
        wire.refuse(call, stopped(call))
    except Exception:
        log.exception(FAILED, extra={"method": call.method.name})
        wire.refuse(call, BUG)
    finally:
        wire.closed(call)
        await _close(answers, call)


async def _close(answers: AsyncIterator[bytes], call: Call) -> None:
    close = getattr(answers, "aclose", None)
    if close is None:
        return
    try:
        await close()
    except Exception:
        log.exception(FAILED, extra={"method": call.method.name})
