"""Closes each day's usage: writes its sums' digest to the governance ledger, whose heads are signed.

The digest is of what ``gateway usage --from DAY --to NEXT --group-by hour,tenant,principal,model,version --format csv``
prints, so whoever holds a bill can check it against the signed ledger with ``sha256sum``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gateway.app.chronicle import Scribe
from gateway.ledger.events import Value
from gateway.malformed import MALFORMED
from gateway.observer.closing import DAY_US, Closed, read_closed, used_days
from gateway.observer.lag import Lookout
from gateway.observer.usage import HOUR_US, Sums
from gateway.observer.usage_formats import DIMENSIONS, rows_by, to_csv

GRACE_US = HOUR_US
"""A day is closed so long after its end."""


class DailyUsage:
    """Writes one ``report`` event for each day that has ended and was used; ``step`` about each second.

    ``memory`` holds the days that are closed, so that a restart repeats none; if it is lost, all are closed again.
    A day waits while the closing has not passed all its records. For one event loop.
    """

    def __init__(
        self, scribe: Scribe, *, ledger: Path, closing: Path, memory: Path, clock_us: Callable[[], int]
    ) -> None:
        self._scribe = scribe
        self._ledger = ledger
        self._closing = closing
        self._memory = memory
        self._clock_us = clock_us
        self._closed: set[int] = set()
        self._looked_us = 0

    def open(self) -> None:
        """Remember which days are closed."""
        try:
            self._closed = set(msgspec.json.decode(self._memory.read_bytes(), type=list[int]))
        except (OSError, *MALFORMED):
            self._closed = set()

    async def step(self) -> None:
        """Close what can be closed. Raises: LedgerUnavailable, OSError; it is tried again."""
        now_us = self._clock_us()
        today_us = (now_us - GRACE_US) // DAY_US * DAY_US
        if today_us == self._looked_us:
            return
        used = await asyncio.to_thread(used_days, self._closing)
        for day_us in [day for day in used if day < today_us and day not in self._closed]:
            if not await asyncio.to_thread(self._passed, day_us, now_us):
                return
            fields = await asyncio.to_thread(self._sums, day_us)
            await self._scribe.event("report", fields=fields)
            self._closed.add(day_us)
            draft = self._memory.with_suffix(".new")
            draft.write_bytes(msgspec.json.encode(sorted(self._closed)))
            draft.replace(self._memory)
        if await asyncio.to_thread(self._passed, today_us - DAY_US, now_us):
            self._looked_us = today_us

    def _passed(self, day_us: int, now_us: int) -> bool:
        """Whether the closing has passed all records that are older than the end of the day."""
        closed = read_closed(self._closing, whole=range(0), partly=())
        lookout = Lookout(self._ledger, lambda: now_us)
        try:
            lag_us = lookout.lags_us([_At(closed)])[_At.name]
        finally:
            lookout.close()
        return not lookout.broken and now_us - lag_us >= day_us + DAY_US

    def _sums(self, day_us: int) -> Mapping[str, Value]:
        """The event's fields."""
        closed = read_closed(self._closing, whole=range(day_us, day_us + DAY_US), partly=())
        total = Sums()
        for row in closed.rows.values():
            total.add(row)
        text = to_csv(rows_by(closed.rows, DIMENSIONS))
        return {
            "what": "usage",
            "day": datetime.fromtimestamp(day_us / 1_000_000, UTC).date().isoformat(),
            "requests": total.requests,
            "rows": total.rows,
            "compute_us": total.compute_us,
            "digest": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
            "shards": [f"{shard}:{size}" for shard, size in sorted(closed.positions.items())],
        }


class _At:
    """Where a closing stands, for the lookout."""

    name = "usage"

    def __init__(self, closed: Closed) -> None:
        self._closed = closed

    def position(self, shard: str) -> int:
        return self._closed.positions.get(shard, 0)
