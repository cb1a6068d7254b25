"""Admission: what cannot be served in time is refused now, not after the work."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from gateway.errors import DeadlineExceeded, Draining, Overloaded
from gateway.types import Context


class Admission:
    """Bounds the calls and bytes in flight of one worker. For the event loop's thread.

    ``retry_after_ms`` is what a refused caller is told to wait. ``close`` refuses all that follow.
    """

    def __init__(
        self, *, max_inflight: int, max_bytes: int, clock_ns: Callable[[], int], retry_after_ms: int = 50
    ) -> None:
        self._max_inflight = max_inflight
        self._max_bytes = max_bytes
        self._clock_ns = clock_ns
        self._retry_after_ms = retry_after_ms
        self._closed = False
        self.inflight = 0
        self.bytes = 0
        self.admitted = 0
        self.shed = 0

    def slot(self, context: Context) -> _Slot:
        """A context manager: entering takes a place or raises, leaving gives it back.

        Raises (on entering): Draining, Overloaded, DeadlineExceeded.
        """
        return _Slot(self, context)

    def close(self) -> None:
        """Refuse every call from now on; those in flight are not touched."""
        self._closed = True

    def enter(self, context: Context) -> None:
        """Take a place for ``context``'s call, or raise as ``slot`` says."""
        if self._closed:
            raise Draining("this gateway is shutting down; another replica will answer")
        if self.inflight >= self._max_inflight:
            self.shed += 1
            raise Overloaded(
                f"{self.inflight} calls are in flight, the limit is {self._max_inflight}; retry later",
                self._retry_after_ms,
            )
        if self.inflight and self.bytes + context.size > self._max_bytes:
            self.shed += 1
            raise Overloaded(
                f"{self.bytes} request bytes are in flight, {context.size} more would pass the limit of "
                f"{self._max_bytes}; retry later",
                self._retry_after_ms,
            )
        if context.deadline_ns is not None and self._clock_ns() >= context.deadline_ns:
            raise DeadlineExceeded("the deadline had passed when the call arrived")
        self.inflight += 1
        self.admitted += 1
        self.bytes += context.size

    def leave(self, context: Context) -> None:
        """Give the place back."""
        self.inflight -= 1
        self.bytes -= context.size


class _Slot:
    __slots__ = ("_admission", "_context")

    def __init__(self, admission: Admission, context: Context) -> None:
        self._admission = admission
        self._context = context

    def __enter__(self) -> None:
        self._admission.enter(self._context)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.leave(self._context)
