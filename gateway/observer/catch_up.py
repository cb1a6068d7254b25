"""A scrape waits until the fold has come back to where it was: to a scraper, a counter that falls has started again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.observer.lag import Positioned

PATIENCE_NS = 10_000_000_000


class CatchingUp(Exception):
    """The counters are not yet what they were."""


class CatchUp:
    """Holds ``follower`` to the sizes that the shards had when it was opened; past them once, it is done for good.

    One that gets no further for ``PATIENCE_NS`` (a shard that cannot be read) is not waited for: to show what there
    is matters more. ``clock_ns`` is monotonic.
    """

    def __init__(self, follower: Positioned, clock_ns: Callable[[], int]) -> None:
        self._follower = follower
        self._clock_ns = clock_ns
        self._goal: Mapping[str, int] = {}
        self._left = 0
        self._moved_ns = 0

    def expect(self, sizes: Mapping[str, int]) -> None:
        """Wait for these sizes."""
        self._goal, self._left, self._moved_ns = sizes, sum(sizes.values()) + 1, self._clock_ns()

    def check(self) -> None:
        """Return when the follower is there, or stuck. Raises: CatchingUp with how far it has to go."""
        if not self._goal:
            return
        now = self._clock_ns()
        left = sum(max(0, size - self._follower.position(shard)) for shard, size in self._goal.items())
        if left < self._left:
            self._left, self._moved_ns = left, now
        if left and now - self._moved_ns < PATIENCE_NS:
            raise CatchingUp(f"{left:,} records are not folded yet; counters would seem to fall")
        self._goal = {}
