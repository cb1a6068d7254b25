"""How many calls there were, counted apart from their records, so that the two can be held against each other."""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence


class Tally:
    """Cumulative counts of one process, for the event loop's thread. Always ``started = due + shed + unrecorded`` and
    ``due = recorded + inflight``, where ``recorded`` is for the ledger to count, too.

    ``due`` is how many calls owe a record. ``shed`` calls are counted in leaves of their own; ``unrecorded`` ones were
    answered UNAVAILABLE because their record could not be made durable. ``due`` is also kept in ``owed[0]``, a place
    that may outlive the process.
    """

    __slots__ = ("due", "owed", "recorded", "shed", "unrecorded")

    def __init__(self, owed: MutableSequence[int] | memoryview[int] | None = None) -> None:
        self.owed = owed if owed is not None else [0]
        self.due = 0
        self.recorded = 0
        self.shed = 0
        self.unrecorded = 0

    @property
    def started(self) -> int:
        """Calls that were begun."""
        return self.due + self.shed + self.unrecorded

    @property
    def inflight(self) -> int:
        """Calls whose record is still to be made."""
        return self.due - self.recorded

    def forget(self) -> None:
        """A call that began was none to record."""
        self.due = self.owed[0] = self.due - 1

    def turn_away(self) -> None:
        """A call that began ends as one of a flood, which is counted together."""
        self.forget()
        self.shed += 1

    def lose(self) -> None:
        """A record was made, and it is not durable after all."""
        self.forget()
        self.recorded -= 1
        self.unrecorded += 1

    def read(self) -> Mapping[str, int]:
        """The counts as they are written into a beat."""
        return {
            "started": self.started,
            "inflight": self.inflight,
            "shed": self.shed,
            "unrecorded": self.unrecorded,
        }
