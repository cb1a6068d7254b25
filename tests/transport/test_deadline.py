"""``grpc-timeout`` to nanoseconds."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.deadline import timeout_ns

UNITS = {"H": 3600 * 10**9, "M": 60 * 10**9, "S": 10**9, "m": 10**6, "u": 10**3, "n": 1}


@given(st.integers(0, 99_999_999), st.sampled_from(sorted(UNITS)))
def test_every_legal_value(number: int, unit: str) -> None:
    assert timeout_ns(f"{number}{unit}".encode()) == number * UNITS[unit]


@pytest.mark.parametrize(
    "value", [b"", b"S", b"1", b"1s", b"100000000n", b"-1S", b"+1S", b"1.0S", b" 1S", b"1 S", b"1S "]
)
def test_the_rest_is_named(value: bytes) -> None:
    with pytest.raises(ValueError, match="malformed grpc-timeout"):
        timeout_ns(value)


@given(st.binary(max_size=12))
def test_no_bytes_break_it(value: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert timeout_ns(value) >= 0
