"""How many calls may be in flight so that none waits longer than it may: service rate times budget. Pure.

By Little's law a call that finds ``n`` others in flight waits for ``n`` times what one call takes at the server's
present pace. That pace is only seen while calls queue: an idle server answers few calls a second because few come. So
it is measured over intervals in which a queue stood from end to end, and forgotten, bit by bit, when none does. A
burst that is gone by the next look is none of our business; a queue that stands is (CoDel's insight).
"""

from __future__ import annotations

LEAST = 128
"""Calls that may be in flight however slow things look: about what a busy server holds without anybody waiting."""

_NEWEST = 0.3  # weight of the newest measurement
_FORGET = 0.9  # of the pace is kept at a look that finds no queue
_NOTHING_NS = 1_000.0  # a pace below this is as good as none


class QueueTime:
    """The bound of calls in flight, learnt by looking at them every now and then.

    ``budget_ns`` is how long a call may wait; 0 for as long as it takes. ``most`` bounds whatever was measured.
    """

    def __init__(self, *, budget_ns: int, most: int, least: int = LEAST) -> None:
        self._budget_ns = budget_ns
        self._most = most
        self._least = min(least, most)
        self._now_ns = 0
        self._done = 0
        self._waiting = 0
        self.call_ns = 0.0
        """What one call takes while calls queue, 0 as long as none do."""

    def look(self, now_ns: int, waiting: int, done: int) -> int:
        """How many calls may wait from now on, if ``waiting`` do and ``done`` have ended since the beginning.

        Times are monotonic; the first look only begins.
        """
        took_ns, ended = now_ns - self._now_ns, done - self._done
        stood = min(waiting, self._waiting)
        if self._now_ns and took_ns > 0:
            if stood >= self._least:
                self._learn(took_ns / max(ended, 1))
            else:
                self.call_ns = self.call_ns * _FORGET if self.call_ns > _NOTHING_NS else 0.0
        self._now_ns, self._waiting, self._done = now_ns, waiting, done
        if not self._budget_ns or not self.call_ns:
            return self._most
        return max(self._least, min(self._most, int(self._budget_ns / self.call_ns)))

    def _learn(self, call_ns: float) -> None:
        self.call_ns = call_ns if not self.call_ns else self.call_ns + _NEWEST * (call_ns - self.call_ns)
