"""Calls that wait for a model, and which of them run together next. Pure: no clock, task or thread.

Only calls whose inputs have equal shapes (but for the number of rows) share a batch; a call is never split;
within a shape, arrival order holds, and the shape whose first call waited longest goes first.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from gateway.serving.servable import Arrays

Caller = TypeVar("Caller")
Shapes: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]


class Waiting(Generic[Caller]):
    """One call in the queue. ``expires_ns`` is when it is not worth running any more, None for never."""

    __slots__ = ("caller", "expires_ns", "inputs", "key", "rows", "since_ns")

    def __init__(self, caller: Caller, inputs: Arrays, rows: int, since_ns: int, expires_ns: int | None = None) -> None:
        self.caller = caller
        self.inputs = inputs
        self.rows = rows
        self.since_ns = since_ns
        self.expires_ns = expires_ns
        self.key = shapes_of(inputs)


@dataclass(frozen=True, slots=True)
class Rule:
    """How batches are made. ``max_rows`` 0: every call runs alone. With ``delay_ns``, a batch waits that long,
    counted from its first call, for one of the ``preferred`` sizes or for being full."""

    max_rows: int = 0
    delay_ns: int = 0
    preferred: tuple[int, ...] = ()


class BatchQueue(Generic[Caller]):
    """Waiting calls by shape."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._by_shape: dict[Shapes, deque[Waiting[Caller]]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, call: Waiting[Caller]) -> None:
        """Queue a call."""
        self._by_shape.setdefault(call.key, deque()).append(call)
        self._length += 1

    def remove(self, call: Waiting[Caller]) -> bool:
        """Take out a call whose caller is gone; False if it already left the queue."""
        line = self._by_shape.get(call.key)
        if line is None or call not in line:
            return False
        line.remove(call)
        self._shrink(call.key, 1)
        return True

    def expire(self, now_ns: int) -> list[Waiting[Caller]]:
        """Take out every call that is not worth running any more."""
        late = [
            call
            for line in self._by_shape.values()
            for call in line
            if call.expires_ns is not None and call.expires_ns <= now_ns
        ]
        for call in late:
            self.remove(call)
        return late

    def take(self, now_ns: int, takers: int = 1) -> list[Waiting[Caller]]:
        """Take out the next batch; empty when nothing waits, or when every batch still waits to grow.

        With several ``takers`` standing idle it is one taker's fair part of what waits.
        """
        for key in self._oldest_first():
            line = self._by_shape[key]
            if now_ns >= self._due_ns(line):
                batch = self._front(line, self._part(line, takers))
                self._shrink(key, len(batch))
                return batch
        return []

    def due_ns(self) -> int | None:
        """When the next batch should be taken at the latest; None when nothing waits."""
        return min((self._due_ns(line) for line in self._by_shape.values()), default=None)

    def _oldest_first(self) -> list[Shapes]:
        return sorted(self._by_shape, key=lambda key: self._by_shape[key][0].since_ns)

    def _due_ns(self, line: deque[Waiting[Caller]]) -> int:
        rule = self._rule
        if not rule.delay_ns:
            return line[0].since_ns
        rows = sum(call.rows for call in line)
        grown = rows >= rule.max_rows or any(rows >= size for size in rule.preferred)
        return line[0].since_ns + (0 if grown else rule.delay_ns)

    def _part(self, line: deque[Waiting[Caller]], takers: int) -> int:
        if takers < 2 or self._rule.delay_ns:  # who waits for a size wants that size
            return self._rule.max_rows
        return min(self._rule.max_rows, -(-sum(call.rows for call in line) // takers))

    def _front(self, line: deque[Waiting[Caller]], limit: int) -> list[Waiting[Caller]]:
        batch = [line.popleft()]
        rows = batch[0].rows
        while line and rows + line[0].rows <= limit:
            rows += line[0].rows
            batch.append(line.popleft())
        return batch

    def _shrink(self, key: Shapes, count: int) -> None:
        self._length -= count
        if not self._by_shape[key]:
            del self._by_shape[key]


def shapes_of(inputs: Arrays) -> Shapes:
    """What two calls must have in common to share a batch: the same inputs, of the same shape per row."""
    shapes = [(name, array.shape[1:]) for name, array in inputs.items()]
    return tuple(shapes if len(shapes) < 2 else sorted(shapes))
