"""How long a model runs, learnt from its runs, by the size of the input. Pure.

A run on the event loop costs no hop to a thread (20 to 90 us), but blocks everybody else. So a call runs
there only when calls of its size were measured to be short. A size is a power of two of bytes: within one,
even a model of cubic cost varies by 8, which keeps a short run far below the 5 ms that the loop may stand.

What is measured is wall time, so a busy machine makes any run look long. The shortest of the last runs is what
the model itself takes; the rest is somebody else's. For the same reason one long run proves nothing: it puts the
size under watch, and only processor time measured then sends it to threads.
"""

from __future__ import annotations

from collections import deque

from gateway.serving.servable import Arrays

SHORT_NS = 200_000
STALL_NS = 5_000_000

_WINDOW = 16
_LONGEST_PENALTY = 4096


class Pace:
    """Run times by size. One writer: the event loop, or the loader before the model is served."""

    __slots__ = ("_limit_ns", "_sizes", "_stall_ns")

    def __init__(self, limit_ns: int = SHORT_NS) -> None:
        """``limit_ns`` is the longest run that may happen on the loop; 0 sends every call to a thread."""
        self._limit_ns = limit_ns
        self._stall_ns = max(STALL_NS, limit_ns)
        self._sizes: dict[int, _Runs] = {}

    def note(self, size: int, ns: int, cpu_ns: int = 0) -> None:
        """A run of inputs of ``size`` took ``ns``, and ``cpu_ns`` of processor time if that was measured.

        A run that stalled by its own processor time sends the next 16 of its size to threads, and twice as many each
        time it happens again.
        """
        runs = self._sizes.get(size)
        if runs is None:
            runs = self._sizes[size] = _Runs()
        runs.last.append(ns)
        if cpu_ns >= self._stall_ns:
            runs.penalty = min(runs.penalty * 2, _LONGEST_PENALTY)
            runs.away = runs.penalty
        elif runs.away:
            runs.away -= 1
        if ns >= self._stall_ns:
            runs.watched = _WINDOW
        elif runs.watched:
            runs.watched -= 1
        if len(runs.last) < _WINDOW or ns < runs.shortest_ns or runs.age == _WINDOW:
            runs.shortest_ns, runs.age = min(runs.last), 0
        runs.age += 1

    def is_watched(self, size: int) -> bool:
        """Whether processor time should be measured: a run of this size was long a short while ago."""
        runs = self._sizes.get(size)
        return runs is not None and runs.watched > 0

    def shared(self, size: int) -> None:
        """A call of ``size`` ran together with others, in a thread: that tells nothing of its own time, but it
        counts as a run away from the loop."""
        runs = self._sizes.get(size)
        if runs is not None and runs.away:
            runs.away -= 1

    def is_short(self, size: int) -> bool:
        """Whether runs of this size were measured, and are short. An unknown size is not."""
        runs = self._sizes.get(size)
        return runs is not None and not runs.away and runs.shortest_ns < self._limit_ns

    def expected_ns(self, size: int) -> int | None:
        """What a run of this size takes, None if never seen."""
        runs = self._sizes.get(size)
        return runs.shortest_ns if runs is not None else None


class _Runs:
    """The last runs of one size. ``away`` runs must still happen in threads, ``watched`` ones be measured well;
    ``age`` counts since the last look."""

    __slots__ = ("age", "away", "last", "penalty", "shortest_ns", "watched")

    def __init__(self) -> None:
        self.last: deque[int] = deque(maxlen=_WINDOW)
        self.shortest_ns = 0
        self.away = 0
        self.watched = 0
        self.penalty = _WINDOW // 2
        self.age = 0


def size_of(inputs: Arrays) -> int:
    """The size class of one request: the number of bits of its number of bytes."""
    total = 0
    for array in inputs.values():
        total += array.nbytes
    return total.bit_length()
