"""Calendar windows: every second is in exactly one, and they end where the calendar says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pipeline.calendar import window

KIND = st.sampled_from(["hour", "day", "month"])
SECOND = st.integers(0, 4_102_444_800)


def seconds(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("kind", "now", "end"),
    [
        ("hour", seconds(2026, 11, 23, 7, 59, 59), seconds(2026, 11, 23, 8)),
        ("hour", seconds(2026, 11, 23, 8), seconds(2026, 11, 23, 9)),
        ("day", seconds(2026, 12, 31, 23, 59, 59), seconds(2027, 1, 1)),
        ("month", seconds(2028, 2, 29, 12), seconds(2028, 3, 1)),
        ("month", seconds(2026, 12, 31, 23, 59, 59), seconds(2027, 1, 1)),
        ("month", seconds(2027, 1, 1), seconds(2027, 2, 1)),
    ],
)
def test_windows_end_where_the_calendar_says(kind: str, now: int, end: int) -> None:
    assert window(kind, now).end_s == end


@given(KIND, SECOND)
def test_the_next_window_begins_where_one_ends(kind: str, now: int) -> None:
    this = window(kind, now)
    assert this.end_s > now
    assert window(kind, this.end_s - 1) == this
    assert window(kind, this.end_s).number == this.number + 1


@given(KIND, SECOND, SECOND)
def test_later_seconds_are_never_in_earlier_windows(kind: str, one: int, other: int) -> None:
    early, late = sorted((one, other))
    assert window(kind, early).number <= window(kind, late).number
