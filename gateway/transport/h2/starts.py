"""Unary handlers start in the order in which their calls came, so many in a turn of the event loop and no more.

They start one after the other, and not while the socket is read: each finds its code where the one before left it. What
one turn starts is what the next call waits for before anybody reads it, so a turn without a bound makes everybody late:
those who are answered, and those who could have been told at once that they will not be. With a bound
(``turn_length``) the calls wait here, and the socket is read between them.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable

from gateway.transport.h2.call import Call
from gateway.transport.h2.turn_length import TurnLength


class Starts:
    """The unary calls of one worker between their last byte and their handler. For the event loop's thread.

    ``calls`` counts those whose handlers run or are about to; whoever ends one counts it down.
    """

    __slots__ = ("_began_ns", "_call_soon", "_clock_ns", "_due", "_length", "_queue", "_started", "calls")

    def __init__(self, clock_ns: Callable[[], int], length: TurnLength | None = None) -> None:
        self._call_soon = asyncio.get_running_loop().call_soon
        self._clock_ns = clock_ns
        self._length = length or TurnLength()
        self._began_ns = self._started = 0  # of a turn that left others waiting
        self._due = False
        self._queue: collections.deque[tuple[Callable[[Call], None], Call]] = collections.deque()
        self.calls = 0

    def __len__(self) -> int:
        """Calls that wait for their turn."""
        return len(self._queue)

    @property
    def late(self) -> bool:
        """Whether who comes now must wait for more than the next turn."""
        return len(self._queue) >= self._length.now

    def add(self, call: Call, start: Callable[[Call], None], *, first: bool = False) -> None:
        """Count ``call`` and have it started in the next turn or a later one. One that ends before is not started.

        ``first`` starts now, and is not one of the turn's: for calls whose handler will only refuse them.
        """
        self.calls += 1
        if first:
            start(call)
            return
        self._queue.append((start, call))
        if not self._due:
            self._due = True
            self._call_soon(self._turn)

    def _turn(self) -> None:
        queue, length = self._queue, self._length
        now_ns = self._clock_ns()
        if self._started:
            length.took(now_ns - self._began_ns, self._started)
        left = most = length.now
        try:
            while queue and left:
                start, call = queue.popleft()
                if call.ended:
                    self.calls -= 1
                    continue
                left -= 1
                start(call)
        finally:  # whatever is wrong with one of them, the others start
            self._due = bool(queue)
            self._began_ns, self._started = now_ns, most - left if queue else 0
            if self._due:
                self._call_soon(self._turn)
