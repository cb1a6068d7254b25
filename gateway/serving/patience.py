"""What an operator allows and a caller wishes of a model's queue: priority, and how long to wait. Pure; as in Triton.

Both matter only where calls queue: a run on the event loop happens in the turn in which its call came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from gateway.serving.settings import DynamicBatching, QueuePolicy
from gateway.types import Parameters


class Wish(msgspec.Struct, frozen=True, gc=False):
    """One call's place in a queue: its priority (1 goes first), and how long it waits (0: as long as it takes), after
    which it ``yields`` to those in time, or ends."""

    priority: int = 0
    timeout_ns: int = 0
    yields: bool = False
    most_waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The queue policies of one model. ``by_level`` are those of priority levels that have one of their own."""

    levels: int = 0
    default_level: int = 0
    default: QueuePolicy = field(default_factory=QueuePolicy)
    by_level: Mapping[int, QueuePolicy] = field(default_factory=dict)

    @classmethod
    def of(cls, batching: DynamicBatching | None) -> Patience:
        """The patience that a configuration asks for."""
        if batching is None:
            return cls()
        return cls(
            levels=batching.priority_levels,
            default_level=batching.default_priority_level,
            default=batching.queue,
            by_level=batching.priority_queues,
        )

    def wish(self, parameters: Parameters) -> Wish:
        """The place of a call with these request parameters.

        ``priority`` 0 or above the number of levels is the default level. ``timeout`` (microseconds) shortens a timeout
        where the policy lets callers override it, and never lengthens it.
        """
        asked = _whole(parameters, "priority")
        priority = asked if 0 < asked <= self.levels else self.default_level
        policy = self.by_level.get(priority, self.default)
        timeout_us = policy.default_timeout_us
        if policy.allow_timeout_override and 0 < (own := _whole(parameters, "timeout")) < timeout_us:
            timeout_us = own
        return Wish(priority, timeout_us * 1000, policy.timeout_action == "delay", policy.max_queue_size)


def _whole(parameters: Parameters, name: str) -> int:
    value = parameters.get(name, 0)
    return value if isinstance(value, int) else 0
