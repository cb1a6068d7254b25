"""How many bytes of unfinished messages a worker may hold. Pure."""

from __future__ import annotations


class Budget:
    """A counter with a bound. Who takes gives back, once."""

    __slots__ = ("_limit", "held")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def take(self, size: int) -> bool:
        """Hold ``size`` bytes more, unless that would pass the limit."""
        if self.held + size > self._limit:
            return False
        self.held += size
        return True

    def give(self, size: int) -> None:
        """Hold ``size`` bytes less."""
        self.held -= size
