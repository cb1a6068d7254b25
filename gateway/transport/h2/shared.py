"""What the connections of one transport have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.transport.budget import Budget
from gateway.transport.h2.call import Call
from gateway.transport.h2.method import Method
from gateway.transport.h2.starts import Starts
from gateway.transport.seam import Limits, Methods


class Shared:
    """The method table by path, the limits, the budget of buffered bytes, and every call that has a deadline.

    Must be made inside a running loop. ``starts`` starts unary handlers. ``timed`` maps a call to what must be done
    once its deadline has passed.
    """

    __slots__ = ("budget", "clock_ns", "compress_min_bytes", "limits", "methods", "starts", "timed")

    def __init__(
        self, methods: Methods, limits: Limits, *, compress_min_bytes: int, clock_ns: Callable[[], int]
    ) -> None:
        self.methods = _by_path(methods)
        self.limits = limits
        self.compress_min_bytes = compress_min_bytes
        self.clock_ns = clock_ns
        self.budget = Budget(limits.max_buffered_bytes)
        self.starts = Starts(clock_ns)
        self.timed: dict[Call, Callable[[Call], None]] = {}

    def expire(self, now_ns: int) -> None:
        """End the calls whose deadline has passed."""
        late = [(call, end) for call, end in self.timed.items() if (call.deadline_ns or 0) <= now_ns]
        for call, end in late:
            end(call)


def _by_path(methods: Methods) -> Mapping[str, Method]:
    table = {
        f"/{name}": Method(name, unary=unary, prompt=methods.prompt.get(name), shed=methods.shed.get(name))
        for name, unary in methods.unary.items()
    }
    return table | {f"/{name}": Method(name, stream=handler) for name, handler in methods.stream.items()}
