"""Carries out what was ordered for a shard, seals its closed segments, lets payloads expire, records each erasure."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gateway.errors import LedgerUnavailable
from gateway.ledger import events, holds, orders, sealing, spool
from gateway.ledger.errors import LedgerError
from gateway.ledger.ledger import Encode, Payload
from gateway.ledger.upkeep import Done, Order
from gateway.types import Receipt

EXPIRE_EVERY_US = 3_600_000_000
_WHAT = {"erase": "payload", "expire": "payload", "prune": "leaf", "rewrap": "key"}

log = logging.getLogger(__name__)


class Shard(Protocol):
    """What the caretaker needs of a shard."""

    @property
    def boot(self) -> str: ...

    def append(self, encode: Encode, payload: Payload | None = None) -> asyncio.Future[Receipt]: ...

    async def perform(self, order: Order) -> Done: ...


class Caretaker:
    """One per shard; for its event loop. ``look`` is cheap and may be called often."""

    def __init__(self, shard: Shard, directory: Path, *, clock_us: Callable[[], int]) -> None:
        self._shard = shard
        self._directory = directory
        self._clock_us = clock_us
        self._expired_us = 0
        self._working: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Begin whatever is due, unless something is being done."""
        if self._working is None or self._working.done():
            self._working = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Wait for what was begun."""
        if self._working is not None:
            await asyncio.wait([self._working])

    async def carry_out(self) -> list[tuple[Order, Done]]:
        """Everything that was ordered. Raises: LedgerUnavailable, LedgerError, sqlite3.Error."""
        results = []
        for path, order in await asyncio.to_thread(orders.waiting, self._directory):
            results.append((order, await self._do(order)))
            await asyncio.to_thread(spool.remove, path)
        return results

    async def _work(self) -> None:
        try:
            await self.carry_out()
            await asyncio.to_thread(sealing.seal_closed, self._directory)
            now = self._clock_us()
            if now - self._expired_us >= EXPIRE_EVERY_US:
                held = await asyncio.to_thread(holds.held, self._directory.parent)
                order = Order(
                    id=orders.new_id(),
                    kind="expire",
                    actor="gateway",
                    reason="retention",
                    before_us=now,
                    held=held,
                )
                await self._do(order)
                self._expired_us = now
        except (LedgerError, LedgerUnavailable, sqlite3.Error, OSError) as error:
            log.warning("ledger.upkeep_failed", extra={"shard": self._directory.name, "error": str(error)})

    async def _do(self, order: Order) -> Done:
        done = await self._shard.perform(order)
        if done.records or order.kind == "erase":
            fields: dict[str, events.Value] = {
                "order": order.id,
                "what": _WHAT[order.kind],
                "records": done.ranges(),
                "count": len(done.records),
                "kept": len(done.kept),
            }
            now = self._clock_us()
            await self._shard.append(
                events.event(
                    "erase", boot=self._shard.boot, t_us=now, actor=order.actor, reason=order.reason, fields=fields
                )
            )
        return done
