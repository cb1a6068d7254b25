"""What an operator does is an event of the governance ledger: left there as a notice before it is done."""

from __future__ import annotations

import asyncio
import getpass
import os
import time
from collections.abc import Mapping
from pathlib import Path

import typer

from gateway.ledger import notices
from gateway.ledger.errors import LedgerLocked
from gateway.ledger.keeper import GOVERNANCE as SHARD
from gateway.ledger.notices import Notice
from gateway.ledger.reader import shards
from gateway.ledger.shard import ShardLedger
from gateway.ledger.verify import GOVERNANCE

_PATIENCE_S = 15.0


def clock_us() -> int:
    """Wall clock."""
    return time.time_ns() // 1000


def note(
    data: Path, kind: str, *, reason: str = "", fields: Mapping[str, bool | int | str | tuple[str, ...]] | None = None
) -> str:
    """Write one event about what this user does: by the running gateway, or by this process where none runs.

    Returns what the event is found by, its ``notice``.

    Raises: LedgerError, OSError; then nothing may be done.
    """
    notice = Notice(
        id=os.urandom(8).hex(), kind=kind, actor=getpass.getuser(), reason=reason, t_us=clock_us(), fields=fields or {}
    )
    path = notices.place(data / GOVERNANCE, notice)
    asyncio.run(_see_through(data / GOVERNANCE, path))
    return notice.id


def begin(data: Path) -> None:
    """Make the governance ledger where there is none yet. Raises: LedgerError, OSError."""

    async def once() -> None:
        ledger = await ShardLedger.open(data / GOVERNANCE, SHARD, boot={"by": "gateway ledger"}, clock_us=clock_us)
        await ledger.close()

    if SHARD not in shards(data / GOVERNANCE):
        asyncio.run(once())


async def _see_through(root: Path, path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while await asyncio.to_thread(path.exists):
        try:
            ledger = await ShardLedger.open(root, SHARD, boot={"by": "gateway ledger"}, clock_us=clock_us)
        except LedgerLocked:
            if time.monotonic() > deadline:  # it is durable where it lies, so what it announces may be done
                typer.echo(f"the running gateway has not yet written down {path}; it will", err=True)
                return
            await asyncio.sleep(0.1)
            continue
        try:
            await notices.write_down(root, ledger, clock_us=clock_us)
        finally:
            await ledger.close()
