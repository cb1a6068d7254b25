"""Calls that wait for a model, and which of them run together next. Pure: no clock, task or thread.

Only calls whose inputs have equal shapes (but for the number of rows) share a batch; a call is never split. Priority 1
goes before 2, what is late behind what is not, and within these, arrival order holds: the shape whose first call waited
longest goes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from gateway.serving.servable import Arrays

Caller = TypeVar("Caller")
Shapes: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]
_Line: TypeAlias = tuple[int, bool, Shapes]
"""What calls in one line have in common: priority, whether they are late, shapes."""


class Waiting(Generic[Caller]):
    """One call in the queue. ``expires_ns`` is when it is not worth running any more, ``late_ns`` when it falls behind
    those of its priority that are in time; None for never."""

    __slots__ = ("caller", "expires_ns", "inputs", "key", "late", "late_ns", "priority", "rows", "since_ns")

    def __init__(
        self,
        caller: Caller,
        inputs: Arrays,
        rows: int,
        since_ns: int,
        expires_ns: int | None = None,
        *,
        late_ns: int | None = None,
        priority: int = 0,
    ) -> None:
        self.caller = caller
        self.inputs = inputs
        self.rows = rows
        self.since_ns = since_ns
        self.expires_ns = expires_ns
        self.late_ns = late_ns
        self.late = False
        self.priority = priority
        self.key = shapes_of(inputs)

    @property
    def line(self) -> _Line:
        return self.priority, self.late, self.key


@dataclass(frozen=True, slots=True)
class Rule:
    """How batches are made. ``max_rows`` 0: every call runs alone. With ``delay_ns``, a batch waits that long,
    counted from its first call, for one of the ``preferred`` sizes or for being full."""

    max_rows: int = 0
    delay_ns: int = 0
    preferred: tuple[int, ...] = ()


class BatchQueue(Generic[Caller]):
    """Waiting calls by priority, lateness and shape. ``rows`` are all of theirs together."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._lines: dict[_Line, deque[Waiting[Caller]]] = {}
        self._length = 0
        self.rows = 0

    def __len__(self) -> int:
        return self._length

    def length(self, priority: int) -> int:
        """Calls of this priority."""
        return sum([len(line) for (level, _, _), line in self._lines.items() if level == priority])

    def rows_before(self, priority: int) -> int:
        """Rows of the calls that a new one of this priority waits for."""
        if not priority:
            return self.rows
        return sum([call.rows for (level, _, _), line in self._lines.items() if level <= priority for call in line])

    def push(self, call: Waiting[Caller]) -> None:
        """Queue a call."""
        self._lines.setdefault(call.line, deque()).append(call)
        self._length += 1
        self.rows += call.rows

    def remove(self, call: Waiting[Caller]) -> bool:
        """Take out a call whose caller is gone; False if it already left the queue."""
        line = self._lines.get(call.line)
        if line is None or call not in line:
            return False
        line.remove(call)
        self._left([call])
        return True

    def expire(self, now_ns: int) -> list[Waiting[Caller]]:
        """Take out every call that is not worth running any more, and put those that became late behind."""
        everyone = [call for line in self._lines.values() for call in line]
        for call in everyone:
            if not call.late and call.late_ns is not None and call.late_ns <= now_ns:
                self.remove(call)
                call.late = True
                self.push(call)
        gone = [call for call in everyone if call.expires_ns is not None and call.expires_ns <= now_ns]
        for call in gone:
            self.remove(call)
        return gone

    def take(self, now_ns: int, takers: int = 1) -> list[Waiting[Caller]]:
        """Take out the next batch; empty when nothing waits, or when every batch still waits to grow.

        With several ``takers`` standing idle it is one taker's fair part of what waits.
        """
        order = self._in_order()
        for place, (_, _, shapes) in enumerate(order):
            if now_ns >= self._due_ns(shapes):
                lines = [line for line in order[place:] if line[2] == shapes]
                batch = self._front(lines, self._part(shapes, takers))
                self._left(batch)
                return batch
        return []

    def due_ns(self) -> int | None:
        """When the next batch should be taken at the latest; None when nothing waits."""
        return min((self._due_ns(shapes) for _, _, shapes in self._lines), default=None)

    def _in_order(self) -> list[_Line]:
        lines = self._lines
        if len(lines) == 1:
            return list(lines)
        return sorted(lines, key=lambda line: (line[0], line[1], lines[line][0].since_ns))

    def _alike(self, shapes: Shapes) -> Iterator[Waiting[Caller]]:
        return (call for line, calls in self._lines.items() if line[2] == shapes for call in calls)

    def _due_ns(self, shapes: Shapes) -> int:
        rule = self._rule
        if not rule.delay_ns:
            return 0
        rows = sum(call.rows for call in self._alike(shapes))
        grown = rows >= rule.max_rows or any(rows >= size for size in rule.preferred)
        return min(call.since_ns for call in self._alike(shapes)) + (0 if grown else rule.delay_ns)

    def _part(self, shapes: Shapes, takers: int) -> int:
        if takers < 2 or self._rule.delay_ns:  # who waits for a size wants that size
            return self._rule.max_rows
        return min(self._rule.max_rows, -(-sum(call.rows for call in self._alike(shapes)) // takers))

    def _front(self, lines: list[_Line], limit: int) -> list[Waiting[Caller]]:
        """The first calls of ``lines``, one line after the other, that have ``limit`` rows together; one at least."""
        batch: list[Waiting[Caller]] = []
        rows = 0
        for key in lines:
            line = self._lines[key]
            while line and (not batch or rows + line[0].rows <= limit):
                rows += line[0].rows
                batch.append(line.popleft())
            if line:
                break
        return batch

    def _left(self, calls: list[Waiting[Caller]]) -> None:
        self._length -= len(calls)
        for call in calls:
            self.rows -= call.rows
            if not self._lines.get(call.line, True):
                del self._lines[call.line]


def shapes_of(inputs: Arrays) -> Shapes:
    """What two calls must have in common to share a batch: the same inputs, of the same shape per row."""
    if len(inputs) == 1:
        for name, array in inputs.items():
            return ((name, array.shape[1:]),)
    return tuple(sorted([(name, array.shape[1:]) for name, array in inputs.items()]))
