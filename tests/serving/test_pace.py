"""Which runs are short is learnt, and neither a busy machine nor one stall decides it for good."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.pace import SHORT_NS, STALL_NS, Pace


def test_an_unknown_size_is_not_short_and_a_measured_one_is() -> None:
    pace = Pace()
    assert not pace.is_short(8)
    pace.note(8, 10_000)
    assert pace.is_short(8)
    assert not pace.is_short(9)


def test_a_limit_of_zero_sends_everything_to_threads() -> None:
    pace = Pace(0)
    pace.note(8, 1)
    assert not pace.is_short(8)


@given(st.lists(st.integers(10_000, STALL_NS - 1), min_size=1, max_size=60), st.integers(0, 15))
def test_a_busy_machine_does_not_make_a_short_model_long(noise: list[int], offset: int) -> None:
    pace = Pace()
    for number, ns in enumerate(noise):
        pace.note(8, 20_000 if number % 16 == offset % len(noise) % 16 else ns)
        if number >= 16:
            assert pace.is_short(8)


def test_a_model_that_became_slow_is_found_within_the_window() -> None:
    pace = Pace()
    for _ in range(50):
        pace.note(8, 20_000)
    for _ in range(32):
        pace.note(8, SHORT_NS * 2)
    assert not pace.is_short(8)
    assert pace.expected_ns(8) == SHORT_NS * 2


def test_a_long_wall_time_alone_proves_nothing_but_puts_the_size_under_watch() -> None:
    pace = Pace()
    pace.note(8, 20_000)
    assert not pace.is_watched(8)
    pace.note(8, STALL_NS)
    assert pace.is_short(8)
    for _ in range(16):
        assert pace.is_watched(8)
        pace.note(8, 20_000, 20_000)
    assert not pace.is_watched(8)


def test_a_stall_in_processor_time_sends_runs_away_and_longer_each_time() -> None:
    pace = Pace()
    absences = []
    for _ in range(4):
        pace.note(8, 20_000)
        pace.note(8, STALL_NS, STALL_NS)
        away = 0
        while not pace.is_short(8):
            pace.note(8, 20_000)
            away += 1
        absences.append(away)
    assert absences == [16, 32, 64, 128]


def test_runs_shared_with_others_count_as_time_spent_away() -> None:
    pace = Pace()
    pace.note(8, 20_000)
    pace.note(8, STALL_NS, STALL_NS)
    for _ in range(15):
        pace.shared(8)
        assert not pace.is_short(8)
    pace.shared(8)
    assert pace.is_short(8)
    pace.shared(9)
    assert not pace.is_short(9)
