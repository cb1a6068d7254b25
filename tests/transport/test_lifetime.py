"""When a connection must end, with a clock of our own."""

from __future__ import annotations

import pytest

from gateway.transport.budget import Budget
from gateway.transport.lifetime import Lifetime, Verdict
from gateway.transport.seam import Limits

S = 1_000_000_000
LIMITS = Limits(handshake_s=10, idle_s=60, max_age_s=600, max_age_grace_s=30, min_ping_interval_s=10)


def test_a_connection_that_never_speaks_is_closed() -> None:
    life = Lifetime(LIMITS, 0, 0.0)
    assert life.look(9 * S, greeted=False, calls=0) is Verdict.KEEP
    assert life.look(10 * S, greeted=False, calls=0) is Verdict.CLOSE


def test_idleness_counts_from_the_last_call() -> None:
    life = Lifetime(LIMITS, 0, 0.0)
    assert life.look(50 * S, greeted=True, calls=1) is Verdict.KEEP
    assert life.look(109 * S, greeted=True, calls=0) is Verdict.KEEP
    assert life.look(110 * S, greeted=True, calls=0) is Verdict.DRAIN


@pytest.mark.parametrize(("jitter", "end"), [(0.0, 600), (0.5, 630)])
def test_age_is_spread_by_a_tenth(jitter: float, end: int) -> None:
    life = Lifetime(LIMITS, 0, jitter)
    assert life.look((end - 1) * S, greeted=True, calls=1) is Verdict.KEEP
    assert life.look(end * S, greeted=True, calls=1) is Verdict.DRAIN


def test_calls_get_the_grace_and_no_more() -> None:
    life = Lifetime(LIMITS, 0, 0.0)
    life.draining(100 * S, 30)
    assert life.look(129 * S, greeted=True, calls=1) is Verdict.KEEP
    assert life.look(130 * S, greeted=True, calls=1) is Verdict.CLOSE


def test_a_drained_peer_that_does_not_answer_is_closed_soon() -> None:
    life = Lifetime(LIMITS, 0, 0.0)
    life.draining(100 * S, 30)
    assert life.look(101 * S, greeted=True, calls=0) is Verdict.CLOSE


def test_a_peer_that_has_not_spoken_when_it_is_drained_gets_a_moment_to() -> None:
    life = Lifetime(LIMITS, 0, 0.0)
    life.draining(2 * S, 30)
    assert life.look(2 * S + S // 2, greeted=False, calls=0) is Verdict.KEEP
    assert life.look(3 * S, greeted=False, calls=0) is Verdict.CLOSE
    assert life.look(3 * S, greeted=False, calls=1) is Verdict.KEEP


def test_zero_means_no_limit() -> None:
    life = Lifetime(Limits(handshake_s=0, idle_s=0, max_age_s=0), 0, 0.9)
    for greeted in (True, False):
        assert life.look(10**9 * S, greeted=greeted, calls=0) is Verdict.KEEP


def test_the_third_hasty_ping_ends_it() -> None:
    life = Lifetime(LIMITS, 0, 0.0)
    verdicts = [life.ping(n * S, spoke=False) for n in range(5)]
    assert verdicts == [Verdict.KEEP, Verdict.KEEP, Verdict.KEEP, Verdict.CLOSE, Verdict.CLOSE]


def test_patient_pings_and_pings_among_answers_are_fine() -> None:
    life = Lifetime(LIMITS, 0, 0.0)
    assert {life.ping(n * 10 * S, spoke=False) for n in range(20)} == {Verdict.KEEP}
    assert {life.ping(200 * S + n, spoke=True) for n in range(20)} == {Verdict.KEEP}


def test_settings_without_calls_are_bounded() -> None:
    life = Lifetime(LIMITS, 0, 0.0)
    assert [life.settings(spoke=False) for _ in range(101)].count(Verdict.CLOSE) == 1


def test_a_budget_never_passes_its_limit() -> None:
    budget = Budget(10)
    assert budget.take(6)
    assert not budget.take(5)
    assert budget.take(4)
    budget.give(6)
    assert budget.held == 4
