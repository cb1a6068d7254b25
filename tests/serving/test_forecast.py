"""How long a call would wait: what the forecast learns, and that it is not led astray by one stall."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.forecast import Forecast

MS = 1_000_000


def test_before_the_first_run_nothing_is_expected() -> None:
    assert Forecast().wait_ns(10, 1) == 0


@given(st.lists(st.integers(1, 100 * MS), min_size=1, max_size=50))
def test_what_is_expected_lies_among_what_was_seen(runs: list[int]) -> None:
    forecast = Forecast()
    for ns in runs:
        forecast.note(ns)
    assert min(runs) <= forecast.run_ns * (1 + 1e-9)
    assert forecast.run_ns <= max(runs) * (1 + 1e-9)


def test_one_stall_does_not_change_what_a_run_takes_beyond_twice() -> None:
    forecast = Forecast()
    for _ in range(10):
        forecast.note(5 * MS)
    forecast.note(10_000 * MS)
    assert forecast.run_ns <= 2 * 5 * MS
    for _ in range(10):
        forecast.note(5 * MS)
    assert forecast.run_ns == pytest.approx(5 * MS, rel=0.05)


def test_a_call_waits_for_half_a_run_and_for_those_ahead_shared_by_the_instances() -> None:
    forecast = Forecast()
    forecast.note(10 * MS)
    assert forecast.wait_ns(0, 1) == 5 * MS
    assert forecast.wait_ns(4, 1) == 45 * MS
    assert forecast.wait_ns(4, 2) == 25 * MS
