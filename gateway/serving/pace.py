"""How long a model runs, learnt from its runs, by the size of the input. Pure.

A run on the event loop costs no hop to a thread (20 to 90 us), but blocks everybody else. So a call runs
there only when calls of its size were measured to be short. A size is a power of two of bytes: within one,
even a model of cubic cost varies by 8, which keeps a short run far below the 5 ms that the loop may stand.
"""

from __future__ import annotations

from gateway.serving.servable import Arrays

SHORT_NS = 200_000
STALL_NS = 5_000_000

_WEIGHT = 8
_SPIKE = 8


class Pace:
    """Mean run times by size. One writer: the event loop, or the loader before the model is served."""

    __slots__ = ("_limit_ns", "_mean_ns")

    def __init__(self, limit_ns: int = SHORT_NS) -> None:
        """``limit_ns`` is the longest run that may happen on the loop; 0 sends every call to a thread."""
        self._limit_ns = limit_ns
        self._mean_ns: dict[int, float] = {}

    def note(self, size: int, ns: int) -> None:
        """A run of inputs of ``size`` took ``ns``.

        A run that was merely interrupted counts as a few usual ones; one that would have stalled the loop
        counts in full, so that the next one of its size goes to a thread.
        """
        mean = self._mean_ns.get(size)
        if mean is None or ns >= STALL_NS:
            self._mean_ns[size] = ns
        else:
            self._mean_ns[size] = mean + (min(ns, _SPIKE * mean) - mean) / _WEIGHT

    def is_short(self, size: int) -> bool:
        """Whether runs of this size were measured, and are short. An unknown size is not."""
        return self._mean_ns.get(size, self._limit_ns) < self._limit_ns

    def expected_ns(self, size: int) -> float | None:
        """The mean run time of this size, None if never seen."""
        return self._mean_ns.get(size)


def size_of(inputs: Arrays) -> int:
    """The size class of one request: the number of bits of its number of bytes."""
    total = 0
    for array in inputs.values():
        total += array.nbytes
    return total.bit_length()
