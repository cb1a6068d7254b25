"""How many calls there were, counted apart from their records, so that the two can be held against each other."""

from __future__ import annotations

from collections.abc import Mapping


class Tally:
    """Cumulative counts of one process, for the event loop's thread. Always
    ``started = recorded + shed + unrecorded + inflight``, where ``recorded`` is for the ledger to count.

    ``shed`` calls are counted in leaves of their own; ``unrecorded`` ones were answered UNAVAILABLE because their
    record could not be made durable.
    """

    __slots__ = ("inflight", "shed", "started", "unrecorded")

    def __init__(self) -> None:
        self.started = 0
        self.inflight = 0
        self.shed = 0
        self.unrecorded = 0

    def read(self) -> Mapping[str, int]:
        """The counts as they are written into a beat."""
        return {
            "started": self.started,
            "inflight": self.inflight,
            "shed": self.shed,
            "unrecorded": self.unrecorded,
        }
