"""The clocks of a process; everything below takes them as arguments."""

from __future__ import annotations

import time


def clock_us() -> int:
    """Wall clock, microseconds since 1970."""
    return time.time_ns() // 1000


def clock_s() -> float:
    """Wall clock, seconds since 1970."""
    return time.time_ns() / 1e9


clock_ns = time.monotonic_ns
"""Monotonic nanoseconds, the same in every process of this machine."""
