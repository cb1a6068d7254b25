"""Admission: what cannot be served in time is refused now, not after the work."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from gateway.errors import DeadlineExceeded, Draining, Overloaded
from gateway.pipeline.queue_time import LEAST, QueueTime
from gateway.types import Context


class Admission:
    """Bounds the calls and bytes in flight of one worker, and the time they wait. For the event loop's thread.

    At most ``max_inflight`` calls and ``max_bytes`` of requests are in flight, and no more calls than are served within
    ``budget_ns`` (0: no such bound), which ``look`` learns. A call whose own deadline will have passed by then is
    refused too. ``retry_after_ms`` is what a refused caller is told to wait. ``close`` refuses all that follow.
    """

    def __init__(
        self,
        *,
        max_inflight: int,
        max_bytes: int,
        clock_ns: Callable[[], int],
        budget_ns: int = 0,
        least: int = LEAST,
        retry_after_ms: int = 50,
    ) -> None:
        self._max_inflight = max_inflight
        self._max_bytes = max_bytes
        self._clock_ns = clock_ns
        self._queue_time = QueueTime(budget_ns=budget_ns, most=max_inflight, least=least)
        self._closed = False
        self._elsewhere = 0
        self.retry_after_ms = retry_after_ms
        self.limit = max_inflight
        """How many calls may be in flight at this moment."""
        self.inflight = 0
        self.bytes = 0
        self.admitted = 0

    def slot(self, context: Context) -> _Slot:
        """A context manager: entering takes a place or raises, leaving gives it back.

        Raises (on entering): Draining, Overloaded, DeadlineExceeded.
        """
        return _Slot(self, context)

    def close(self) -> None:
        """Refuse every call from now on; those in flight are not touched."""
        self._closed = True

    def look(self, elsewhere: int = 0, *, before: int = 0) -> None:
        """Learn how long calls wait; once in some ten milliseconds. ``before`` us others wait to be handled.
        ``elsewhere`` of those in flight do not wait for this worker but for a model that runs in a thread, which has
        a queue and a budget of its own."""
        self._elsewhere = elsewhere
        waiting = max(self.inflight - elsewhere, 0) + before
        limit = self._queue_time.look(self._clock_ns(), waiting, self.admitted - self.inflight)
        self.limit = min(self._max_inflight, limit + elsewhere)

    def full(self, running: int, left_ns: int | None) -> bool:
        """Whether a call is one too many while ``running`` others are handled or wait to be: for this worker, or for
        a caller who waits ``left_ns``."""
        if running >= self.limit:
            return True
        return left_ns is not None and (running - self._elsewhere) * self._queue_time.call_ns > left_ns

    def enter(self, context: Context) -> None:
        """Take a place for ``context``'s call, or raise as ``slot`` says."""
        if self._closed:
            raise Draining("this gateway is shutting down; another replica will answer")
        if context.excess:
            self._refuse("more calls are in flight than can be answered in time; retry later")
        if self.inflight >= self.limit:
            self._refuse(f"{self.inflight} calls are in flight, the limit is {self.limit} now; retry later")
        if self.inflight and self.bytes + context.size > self._max_bytes:
            self._refuse(
                f"{self.bytes} request bytes are in flight, {context.size} more would pass the limit of "
                f"{self._max_bytes}; retry later"
            )
        if context.deadline_ns is not None:
            self._judge(context.deadline_ns - self._clock_ns())
        self.inflight += 1
        self.admitted += 1
        self.bytes += context.size

    def leave(self, context: Context) -> None:
        """Give the place back."""
        self.inflight -= 1
        self.bytes -= context.size

    def _judge(self, left_ns: int) -> None:
        if left_ns <= 0:
            raise DeadlineExceeded("the deadline had passed when the call arrived")
        wait_ns = self.inflight * self._queue_time.call_ns
        if wait_ns > left_ns:
            self._refuse(
                f"the deadline passes in {left_ns // 1_000_000} ms, the wait is {wait_ns / 1e6:.0f} ms now; retry later"
            )

    def _refuse(self, text: str) -> None:
        raise Overloaded(text, self.retry_after_ms)


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
