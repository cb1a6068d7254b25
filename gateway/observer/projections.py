"""A follower's database taken up again, or begun anew: nothing is in it that the ledger does not tell."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from gateway.ledger.projection import Projection
from gateway.ledger.segment import damaged
from gateway.malformed import MALFORMED

_DAMAGE = (sqlite3.DatabaseError, LookupError, TypeError, ValueError, *MALFORMED)


def take_up(
    path: Path,
    size: Callable[[str], int],
    *,
    tables: str = "",
    version: int = 1,
    restore: Callable[[sqlite3.Connection], None] = lambda _: None,
) -> tuple[Projection, dict[str, int]]:
    """The projection at ``path`` and its positions, by shard; ``restore`` has read what else it holds.

    One that is damaged, or that followed more leaves of a shard than ``size`` says there are, is set aside as
    ``<name>.broken``, and an empty one begins.

    Raises: LedgerNewer, OSError, sqlite3.OperationalError.
    """
    found = _resumed(path, size, tables, version, restore)
    if found is not None:
        return found
    _set_aside(path)
    projection = Projection.open(path, tables, version=version)
    restore(projection.db)
    return projection, {}


def _resumed(
    path: Path,
    size: Callable[[str], int],
    tables: str,
    version: int,
    restore: Callable[[sqlite3.Connection], None],
) -> tuple[Projection, dict[str, int]] | None:
    with contextlib.ExitStack() as undo:
        try:
            projection = Projection.open(path, tables, version=version)
            undo.callback(projection.close)
            db = projection.db
            if db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",):
                positions = dict(db.execute("SELECT shard, next FROM position"))
                if all(size(shard) >= following for shard, following in positions.items()):
                    restore(db)
                    undo.pop_all()
                    return projection, positions
        except _DAMAGE as error:
            if isinstance(error, sqlite3.Error) and not damaged(error):
                raise
    return None


def _set_aside(path: Path) -> None:
    path.replace(path.with_suffix(".broken"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
