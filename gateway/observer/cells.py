"""The cells that a fold writes: counters and histograms of integers, with a bounded set of labels.

Integers only (microseconds, bytes, rows), so that folding in two pieces equals folding at once and a
snapshot restores exactly what was; the writer divides when it prints. One thread owns all cells.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

Labels: TypeAlias = tuple[str, ...]
OTHER = "_OTHER"

LATENCY_US = (
    *(100, 250, 500),
    *(1_000, 2_500, 5_000),
    *(10_000, 25_000, 50_000),
    *(100_000, 250_000, 500_000),
    *(1_000_000, 2_500_000, 5_000_000),
    10_000_000,
)
"""1-2.5-5 a decade from 0.1 ms to 10 s: small models answer in less than the 5 ms where most defaults start."""

POWERS_OF_TWO = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Exemplar(msgspec.Struct, frozen=True, gc=False):
    """One trace that fell into a bucket: ``value`` in the histogram's unit, ``t_us`` when it happened."""

    trace_id: str
    value: int
    t_us: int


class Counter:
    """Monotonic sums by label values."""

    __slots__ = ("cells", "help", "labels", "name", "scale")

    def __init__(self, name: str, help: str, labels: Sequence[str] = (), *, scale: int = 1) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self.scale = scale
        self.cells: dict[Labels, int] = {}

    def add(self, key: Labels, amount: int = 1) -> None:
        """Raise the cell of ``key`` by ``amount`` (never negative)."""
        cells = self.cells
        cells[key] = cells.get(key, 0) + amount

    def copy(self) -> Counter:
        """The same cells, apart from what is added later."""
        other = Counter(self.name, self.help, self.labels, scale=self.scale)
        other.cells = dict(self.cells)
        return other

    def dump(self) -> list[tuple[Labels, list[int]]]:
        """The cells as plain values, for a snapshot."""
        return [(key, [value]) for key, value in self.cells.items()]

    def load(self, cells: Iterable[tuple[Labels, list[int]]]) -> None:
        """Replace the cells by those of a snapshot."""
        self.cells = {tuple(key): values[0] for key, values in cells}


class Histogram:
    """Counts per bucket and a sum, by label values.

    A cell is ``[bucket 0, ..., bucket n, +Inf, sum]``; its counts are not cumulative.
    """

    __slots__ = ("bounds", "cells", "exemplars", "help", "labels", "name", "scale")

    def __init__(
        self, name: str, help: str, labels: Sequence[str] = (), *, bounds: Sequence[int], scale: int = 1
    ) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self.bounds = tuple(bounds)
        self.scale = scale
        self.cells: dict[Labels, list[int]] = {}
        self.exemplars: dict[tuple[Labels, int], Exemplar] = {}

    def observe(self, key: Labels, value: int) -> None:
        """Count ``value`` in its bucket."""
        cell = self.cells.get(key)
        if cell is None:
            cell = self.cells[key] = [0] * (len(self.bounds) + 2)
        cell[bisect_left(self.bounds, value)] += 1
        cell[-1] += value

    def exemplify(self, key: Labels, exemplar: Exemplar) -> None:
        """Let ``exemplar`` stand for its bucket, where ``key`` has been observed."""
        if key in self.cells:
            self.exemplars[key, bisect_left(self.bounds, exemplar.value)] = exemplar

    def copy(self) -> Histogram:
        """The same cells, apart from what is observed later; without exemplars."""
        other = Histogram(self.name, self.help, self.labels, bounds=self.bounds, scale=self.scale)
        other.cells = {key: list(cell) for key, cell in self.cells.items()}
        return other

    def dump(self) -> list[tuple[Labels, list[int]]]:
        """The cells as plain values, for a snapshot. Exemplars are not kept: they are a hint, not a count."""
        return list(self.cells.items())

    def load(self, cells: Iterable[tuple[Labels, list[int]]]) -> None:
        """Replace the cells by those of a snapshot; cells of other bounds are dropped whole."""
        width = len(self.bounds) + 2
        self.cells = {tuple(key): values for key, values in cells if len(values) == width}


class Bounded:
    """Lets at most ``limit`` distinct values into a label; every later one is ``_OTHER``, for good.

    First come, first served, so a value never changes its series. With ``allowed`` only those pass.
    A value longer than 128 characters is ``_OTHER`` too: a label is a name, not a document.
    """

    __slots__ = ("_allowed", "_limit", "_seen")

    def __init__(self, limit: int, allowed: Iterable[str] = ()) -> None:
        self._limit = limit
        self._allowed = frozenset(allowed)
        self._seen: dict[str, str] = {}

    def __call__(self, value: str) -> str:
        known = self._seen.get(value)
        if known is not None:
            return known
        if (self._allowed and value not in self._allowed) or len(self._seen) >= self._limit:
            return OTHER
        if len(value) > 128:
            return OTHER
        self._seen[value] = value
        return value

    def dump(self) -> list[str]:
        """The values let in so far."""
        return list(self._seen)

    def load(self, values: Iterable[str]) -> None:
        """Let in what a snapshot had let in."""
        self._seen = {value: value for value in values}
