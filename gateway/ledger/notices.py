"""What operators did, on its way into the governance ledger: ``governance/notices/<id>.json``.

The governance ledger has one writer, which is the running gateway's observer. A command leaves a notice before it acts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from gateway.ledger import events, spool
from gateway.ledger.ledger import Ledger

FOLDER = "notices"


class Notice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Who did what, when (``t_us``, wall clock) and why. ``kind`` is one of the governance ledger's."""

    id: str
    kind: str
    actor: str
    reason: str
    t_us: int
    fields: Mapping[str, bool | int | str | tuple[str, ...]] = {}


def place(root: Path, notice: Notice) -> Path:
    """Leave ``notice`` for the governance ledger in ``root``; durable when this returns. Raises: OSError."""
    return spool.place(root / FOLDER, f"{notice.t_us}-{notice.id}", notice)


async def write_down(root: Path, ledger: Ledger, *, clock_us: Callable[[], int]) -> int:
    """Write what waits as events, oldest first; how many. One that a crash repeats has the same ``notice``.

    Raises: LedgerUnavailable, LedgerCorrupt, OSError.
    """
    found = await asyncio.to_thread(spool.waiting, root / FOLDER, Notice)
    for path, notice in found:
        fields = {**notice.fields, "notice": notice.id, "asked_us": notice.t_us}
        make = events.event(
            notice.kind, boot=ledger.boot, t_us=clock_us(), actor=notice.actor, reason=notice.reason, fields=fields
        )
        await ledger.append(make)
        await asyncio.to_thread(spool.remove, path)
    return len(found)
