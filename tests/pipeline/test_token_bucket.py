"""The token bucket's law: never more than burst + rps * t, whatever the callers do."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.pipeline.token_bucket import MAX_WAIT_MS, NEVER_NS, full_at_ns, level, wait_ms


class Bucket(RuleBasedStateMachine):
    """Callers of all kinds at one bucket; every admission since every earlier moment is counted."""

    @initialize(rps=st.floats(0, 1e4), burst=st.floats(0, 1e3))
    def start(self, rps: float, burst: float) -> None:
        self.rps, self.burst = rps, burst
        self.tokens, self.at_ns, self.now_ns = 0.0, 0, 10**9
        self.admitted: list[tuple[int, float]] = []

    @rule(ns=st.integers(0, 3_600_000_000_000))
    def wait(self, ns: int) -> None:
        self.now_ns += ns

    @rule(cost=st.floats(0.001, 100))
    def call(self, cost: float) -> None:
        have = level(self.tokens, self.at_ns, self.now_ns, rps=self.rps, burst=self.burst)
        assert 0 <= have <= self.burst
        if wait_ms(have, cost, rps=self.rps) == 0:
            self.tokens, self.at_ns = have - cost, self.now_ns
            self.admitted.append((self.now_ns, cost))

    @rule(cost=st.floats(0.001, 100))
    def obey_the_wait(self, cost: float) -> None:
        have = level(self.tokens, self.at_ns, self.now_ns, rps=self.rps, burst=self.burst)
        wait = wait_ms(have, cost, rps=self.rps)
        if cost > self.burst or wait >= MAX_WAIT_MS:
            return
        self.now_ns += wait * 1_000_000
        have = level(self.tokens, self.at_ns, self.now_ns, rps=self.rps, burst=self.burst)
        assert have >= cost - 1e-6

    @invariant()
    def no_span_admits_more_than_burst_and_rate(self) -> None:
        total = 0.0
        for at_ns, cost in reversed(self.admitted if hasattr(self, "admitted") else []):
            total += cost
            assert total <= self.burst + self.rps * (self.now_ns - at_ns) / 1e9 + 1e-6

    @invariant()
    def a_full_bucket_is_a_fresh_one(self) -> None:
        if not hasattr(self, "admitted") or not self.at_ns:
            return
        full = full_at_ns(self.tokens, self.at_ns, rps=self.rps, burst=self.burst)
        if full < NEVER_NS:
            have = level(self.tokens, self.at_ns, full, rps=self.rps, burst=self.burst)
            assert have >= self.burst - 1e-6


TestBucket = Bucket.TestCase


def test_time_that_runs_backwards_adds_nothing() -> None:
    assert level(3.0, 10**9, 0, rps=100, burst=10) == 3.0


def test_a_narrower_rule_cuts_what_a_wider_one_left() -> None:
    assert level(50.0, 10**9, 10**9, rps=1, burst=10) == 10


def test_an_empty_bucket_tells_when_to_come_back() -> None:
    assert wait_ms(0.0, 1, rps=100) == 10
    assert wait_ms(0.5, 1, rps=1) == 500
    assert wait_ms(0.0, 1, rps=0) == MAX_WAIT_MS
    assert wait_ms(0.0, 1, rps=1e-9) == MAX_WAIT_MS
