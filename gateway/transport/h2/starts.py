"""Unary handlers start in the order in which their calls came, so many in a turn of the event loop and no more.

What one turn starts is what the next call waits for before anybody reads it, so a turn without a bound makes everybody
late: those who are answered, and those who could have been told at once that they will not be. With a bound the calls
wait here instead of in the loop, and the socket is read between them.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable

from gateway.transport.h2.calls import Call

MOST = 32
"""Handlers that start in one turn: some 3 ms of work, of which a refusal waits for half. Each turn also reads and
writes every connection and commits once, so fewer would cost those who are answered."""


class Starts:
    """The unary calls of one worker between their last byte and their handler. For the event loop's thread.

    ``calls`` counts the handlers that run or are about to; whoever ends one counts it down.
    """

    __slots__ = ("_call_soon", "_left", "_most", "_queue", "calls")

    def __init__(self, most: int = MOST) -> None:
        self._call_soon = asyncio.get_running_loop().call_soon
        self._most = most
        self._left = most
        self._queue: collections.deque[tuple[Callable[[Call], None], Call]] = collections.deque()
        self.calls = 0

    def __len__(self) -> int:
        """Calls that wait for their turn."""
        return len(self._queue)

    def add(self, call: Call, start: Callable[[Call], None], *, first: bool = False) -> None:
        """Count ``call`` and have it started, at once or in a later turn. One that ends before is not started.

        ``first`` passes those who wait, and is not one of the turn's: for calls whose handler will only refuse them.
        """
        self.calls += 1
        if first:
            start(call)
            return
        if not self._left:
            self._queue.append((start, call))
            return
        if self._left == self._most:
            self._call_soon(self._turn)
        self._left -= 1
        start(call)

    def _turn(self) -> None:
        self._left = self._most
        while self._queue and self._left:
            start, call = self._queue.popleft()
            if call.ended:
                self.calls -= 1
                continue
            self._left -= 1
            start(call)
        if self._left < self._most:
            self._call_soon(self._turn)
