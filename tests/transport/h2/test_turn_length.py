"""A busy turn takes about the time it is to take, on machines of any speed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.h2.turn_length import FIRST, LEAST, MOST, TURN_NS, TurnLength


@pytest.mark.parametrize("call_us", [45, 80, 120, 200, 300])
def test_it_finds_the_length_for_what_a_call_costs(call_us: int) -> None:
    length, rng = TurnLength(), random.Random(1)
    for _ in range(100):
        length.took(int(length.now * call_us * 1000 * rng.uniform(0.8, 1.2)), length.now)
    assert length.now * call_us * 1000 == pytest.approx(TURN_NS, rel=0.15)


def test_one_long_pause_does_not_shorten_turns_for_long() -> None:
    length = TurnLength()
    length.took(3_600 * 10**9, FIRST)
    assert length.now >= FIRST // 2
    for _ in range(30):
        length.took(length.now * TURN_NS // FIRST, length.now)
    assert length.now == pytest.approx(FIRST, abs=2)


@given(st.lists(st.tuples(st.integers(-1000, 10**12), st.integers(1, MOST))))
def test_it_stays_within_bounds_whatever_turns_took(turns: list[tuple[int, int]]) -> None:
    length = TurnLength()
    for turn_ns, calls in turns:
        length.took(turn_ns, calls)
        assert LEAST <= length.now <= MOST
    for _ in range(200):  # whatever it believed, it learns
        length.took(length.now * TURN_NS // FIRST, length.now)
    assert length.now == pytest.approx(FIRST, abs=2)
