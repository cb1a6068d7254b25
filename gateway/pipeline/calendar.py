"""Calendar windows of quotas, in UTC: pure arithmetic."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, NamedTuple

_FIXED_S = {"hour": 3600, "day": 86_400}


class Window(NamedTuple):
    """One hour, day or month: ``number`` grows by one from each to the next; it ends before ``end_s``."""

    number: int
    end_s: int


def window(kind: Literal["hour", "day", "month"], now_s: int) -> Window:
    """The window of ``kind`` that ``now_s`` (seconds since 1970) is in."""
    if kind != "month":
        number = now_s // _FIXED_S[kind]
        return Window(number, (number + 1) * _FIXED_S[kind])
    now = datetime.fromtimestamp(now_s, UTC)
    number = now.year * 12 + now.month - 1
    year, month = divmod(number + 1, 12)
    return Window(number, int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp()))
