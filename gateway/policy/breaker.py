"""A circuit breaker: after failures in a row it refuses at once, then lets one probe through."""

from __future__ import annotations


class Breaker:
    """Pure: the clock (monotonic nanoseconds) comes with every call."""

    def __init__(self, *, failures: int = 5, open_ms: int = 1000) -> None:
        self._limit = failures
        self._open_ns = open_ms * 1_000_000
        self._failed = 0
        self._until_ns = 0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, a probe aside."""
        return self._failed >= self._limit

    def admits(self, now_ns: int) -> bool:
        """Whether a call may be tried now. While open, one call after the pause is the probe."""
        if self._failed < self._limit:
            return True
        if self._probing or now_ns < self._until_ns:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """A call was answered: close."""
        self._failed = 0
        self._probing = False

    def failed(self, now_ns: int) -> None:
        """A call was not answered."""
        self._failed += 1
        self._probing = False
        if self._failed >= self._limit:
            self._until_ns = now_ns + self._open_ns

    def abandoned(self) -> None:
        """A call ended without telling anything of the peer (its caller hung up)."""
        self._probing = False
