"""What one process does for all shards: it signs their heads and anchors them in the governance ledger.

The governance ledger is a second instance of the same class, shard ``gov``; its one writer is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from gateway.ledger import events, notices
from gateway.ledger.anchor import anchor, head_line
from gateway.ledger.errors import LedgerError
from gateway.ledger.logkeys import LogKeys
from gateway.ledger.notary import ORIGIN, Notary
from gateway.ledger.seals import MEMORY, Seals
from gateway.ledger.shard import ShardLedger

ANCHOR_S = 60.0
GOVERNANCE = "gov"

log = logging.getLogger(__name__)


class Keeper:
    """Keeps the ledgers of one data directory. ``step`` about each second, on the loop that opened it.

    Files are read and signed in a worker thread. ``governance`` takes events of others, too;
    ``troubles`` are notices and seals that cannot be written down, with why.
    """

    def __init__(
        self, data: Path, *, clock_us: Callable[[], int], origin: str = ORIGIN, anchor_s: float = ANCHOR_S
    ) -> None:
        keys = LogKeys(data / "keys" / "log")
        self._root = data / "governance"
        self._clock_us = clock_us
        self._anchor_us = int(anchor_s * 1_000_000)
        self._notary = Notary(data / "ledger", keys, clock_us=clock_us, origin=origin)
        self._own = Notary(self._root, keys, clock_us=clock_us, origin=origin)
        self._governance: ShardLedger | None = None
        self._seals = Seals(data / "ledger", self._root / MEMORY)
        self._anchored_us = 0
        self.troubles: dict[str, str] = {}
        self._keys_seen: frozenset[str] = frozenset()
        self._grew = False

    @property
    def governance(self) -> ShardLedger:
        """The governance ledger, while open."""
        if self._governance is None:
            raise RuntimeError("the keeper is not open")
        return self._governance

    @property
    def alarms(self) -> Mapping[str, str]:
        """Shards whose heads are refused, and why. Not empty means: look at once."""
        return {**self._notary.alarms, **self._own.alarms}

    async def open(self, boot: Mapping[str, str | int]) -> None:
        """Take the locks, open the governance ledger. Raises: LedgerError."""
        async with contextlib.AsyncExitStack() as undo:
            for notary in (self._notary, self._own):
                await asyncio.to_thread(notary.open)
                undo.callback(notary.close)
            self._governance = await ShardLedger.open(self._root, GOVERNANCE, boot=boot, clock_us=self._clock_us)
            self._keys_seen = self._known_keys()
            await asyncio.to_thread(self._seals.open)
            undo.pop_all()

    async def step(self) -> None:
        """Sign what grew, write down what operators did, anchor when it is time.

        Raises: LedgerUnavailable when the governance ledger cannot write.
        """
        self._grew |= bool(await asyncio.to_thread(self._notary.step))
        await self._note_keys()
        await self._try("notices", self._note_acts)
        now = self._clock_us()
        if self._grew and now - self._anchored_us >= self._anchor_us:
            await self._anchor(now)
        await asyncio.to_thread(self._own.step)

    async def event(
        self, kind: str, *, actor: str = "", reason: str = "", fields: Mapping[str, events.Value] | None = None
    ) -> None:
        """Write one event to the governance ledger and return when it is durable. Raises: LedgerUnavailable."""
        make = events.event(
            kind, boot=self.governance.boot, t_us=self._clock_us(), actor=actor, reason=reason, fields=fields
        )
        await self.governance.append(make)

    async def close(self) -> None:
        """Sign and anchor what is left, close the governance ledger and sign its end. Safe to call twice."""
        if self._governance is None:
            return
        try:
            await asyncio.to_thread(self._notary.catch_up)
            await self._note_keys()
            await self._try("notices", self._note_acts)
            await self._anchor(self._clock_us())
        finally:
            await self._governance.close()
            self._governance = None
            await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._own.catch_up()
        self._own.anchor()
        self._own.close()
        self._notary.close()

    async def _anchor(self, now: int) -> None:
        kept = await asyncio.to_thread(self._notary.anchor)
        if kept:
            await self.governance.append(anchor(kept, boot=self.governance.boot, t_us=now))
        await self._try("seals", self._note_seals)
        await asyncio.to_thread(self._own.step)
        await asyncio.to_thread(self._own.anchor)
        self._anchored_us, self._grew = now, False

    async def _try(self, name: str, note: Callable[[], Awaitable[None]]) -> None:
        """What cannot be written down now is logged once, tried again at the next step, and holds up no anchor."""
        try:
            await note()
            self.troubles.pop(name, None)
        except (LedgerError, OSError) as error:
            if self.troubles.get(name) != str(error):
                log.critical("keeper.cannot_write_down", extra={"what": name, "error": str(error)})
            self.troubles[name] = str(error)

    async def _note_acts(self) -> None:
        await notices.write_down(self._root, self.governance, clock_us=self._clock_us)

    async def _note_seals(self) -> None:
        """A segment that will not grow any more is an event with the head that it ends with."""
        for seal in await asyncio.to_thread(self._seals.fresh):
            fields: dict[str, events.Value] = {
                "heads": [head_line(seal.shard, seal.size, seal.root)],
                "file": seal.file,
                "first": seal.first,
            }
            await self.event("seal", fields=fields)
            await asyncio.to_thread(self._seals.written, seal)

    async def _note_keys(self) -> None:
        """A key that begins or ends is an event, signed like everything here."""
        known = self._known_keys()
        for line in sorted(known - self._keys_seen):
            await self.event("key", fields={"trusted": line})
        self._keys_seen = known

    def _known_keys(self) -> frozenset[str]:
        entries = [*self._notary.keyring.entries(), *self._own.keyring.entries()]
        return frozenset(f"{entry.key} {entry.first} {'-' if entry.last is None else entry.last}" for entry in entries)
