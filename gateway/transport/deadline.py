"""The ``grpc-timeout`` field: how long the caller will wait, as nanoseconds."""

from __future__ import annotations

_UNIT_NS = {
    ord("H"): 3_600_000_000_000,
    ord("M"): 60_000_000_000,
    ord("S"): 1_000_000_000,
    ord("m"): 1_000_000,
    ord("u"): 1_000,
    ord("n"): 1,
}
_MAX_DIGITS = 8


def timeout_ns(value: bytes) -> int:
    """Return the timeout in nanoseconds (gRPC over HTTP/2: 1 to 8 digits and a unit).

    Raises: ValueError naming what came and what was expected.
    """
    digits = value[:-1]
    unit = _UNIT_NS.get(value[-1]) if value else None
    if unit is None or not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise ValueError(f"malformed grpc-timeout {value[:32]!r}: expected 1 to {_MAX_DIGITS} digits and one of HMSmun")
    return int(digits) * unit
