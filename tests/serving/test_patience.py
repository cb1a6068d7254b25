"""Priorities and timeouts, as Triton reads them from a configuration and a request."""

from __future__ import annotations

import pytest

from gateway.serving.patience import Patience, Wish
from gateway.serving.settings import DynamicBatching, QueuePolicy
from gateway.types import Parameters

MS = 1_000_000
BATCHING = DynamicBatching(
    priority_levels=3,
    default_priority_level=2,
    queue=QueuePolicy(default_timeout_us=5_000, allow_timeout_override=True),
    priority_queues={3: QueuePolicy(timeout_action="delay", default_timeout_us=1_000, max_queue_size=4)},
)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, Wish(2, 5 * MS)),
        ({"priority": 1}, Wish(1, 5 * MS)),
        ({"priority": 0}, Wish(2, 5 * MS)),
        ({"priority": 4}, Wish(2, 5 * MS)),
        ({"timeout": 2_000}, Wish(2, 2 * MS)),
        ({"timeout": 9_000}, Wish(2, 5 * MS)),
        ({"timeout": 0}, Wish(2, 5 * MS)),
        ({"timeout": -1}, Wish(2, 5 * MS)),
        ({"priority": 3, "timeout": 10}, Wish(3, 1 * MS, True, 4)),
        ({"priority": "1"}, Wish(2, 5 * MS)),
    ],
)
def test_a_call_gets_the_place_that_it_wishes_as_far_as_it_is_allowed(parameters: Parameters, expected: Wish) -> None:
    assert Patience.of(BATCHING).wish(parameters) == expected


def test_a_caller_cannot_bring_in_a_timeout_where_there_is_none() -> None:
    patience = Patience.of(DynamicBatching(queue=QueuePolicy(allow_timeout_override=True)))
    assert patience.wish({"timeout": 1}) == Wish()


def test_without_a_configuration_nobody_is_before_anybody() -> None:
    assert Patience.of(None).wish({"priority": 1, "timeout": 1}) == Wish()
