"""The token bucket: pure arithmetic, no clock, no store.

A bucket holds at most ``burst`` tokens and gains ``rps`` a second. Within any span of t seconds it
gives away at most ``burst + rps * t``.
"""

from __future__ import annotations

from math import ceil

MAX_WAIT_MS = 86_400_000
NEVER_NS = 2**63 - 1


def level(tokens: float, at_ns: int, now_ns: int, *, rps: float, burst: float) -> float:
    """Tokens at ``now_ns`` in a bucket that held ``tokens`` at ``at_ns``; a fresh bucket (0) is full.

    Time that runs backwards adds nothing; tokens above ``burst``, left by a rule that was wider, are gone.
    """
    if at_ns == 0:
        return burst
    return min(burst, tokens + max(0, now_ns - at_ns) * rps / 1e9)


def wait_ms(tokens: float, cost: float, *, rps: float) -> int:
    """Milliseconds until ``cost`` tokens are there; 0 when they are now. Never more than a day."""
    if tokens >= cost:
        return 0
    if rps <= 0:
        return MAX_WAIT_MS
    return max(1, ceil(min(MAX_WAIT_MS, (cost - tokens) * 1000 / rps)))


def full_at_ns(tokens: float, now_ns: int, *, rps: float, burst: float) -> int:
    """When the bucket is full again: from then on it cannot be told from a fresh one."""
    if tokens >= burst:
        return now_ns
    if rps <= 0:
        return NEVER_NS
    return min(NEVER_NS, now_ns + ceil(min(NEVER_NS, (burst - tokens) * 1e9 / rps)))
