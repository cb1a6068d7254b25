"""A follower's database taken up again; one that is damaged is set aside, and what the ledger tells is read again."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from gateway.ledger.projection import POSITIONS, Projection, set_aside
from gateway.ledger.sqlite_faults import damaged
from gateway.malformed import MALFORMED

log = logging.getLogger(__name__)

Size: TypeAlias = Callable[[str], int | None]
"""How many leaves a shard has; None where that cannot be read."""

_COLUMNS = """
SELECT m.name, t.name, t.type, t."notnull", t.pk FROM sqlite_master m, pragma_table_info(m.name) t
WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' ORDER BY m.name, t.cid
"""


class _Unusable(Exception):
    """Why a database is set aside."""


def take_up(
    path: Path,
    size: Size,
    *,
    tables: str = "",
    version: int = 1,
    restore: Callable[[sqlite3.Connection], None] = lambda _: None,
) -> tuple[Projection, dict[str, int]]:
    """The projection at ``path`` and its positions, by shard; ``restore`` has read what else it holds.

    One that is damaged, or that followed more leaves of a shard than there are, is set aside as ``<name>.broken`` (or
    with the next free number behind it), which is logged, and an empty one begins.

    Raises: LedgerNewer, OSError, sqlite3.OperationalError.
    """
    try:
        return _resumed(path, size, tables, version, restore)
    except _Unusable as cause:
        aside = set_aside(path, "broken")
        log.warning("projection.set_aside", extra={"path": str(path), "aside": str(aside), "cause": str(cause)})
    projection = Projection.open(path, tables, version=version)
    restore(projection.db)
    return projection, {}


def _resumed(
    path: Path, size: Size, tables: str, version: int, restore: Callable[[sqlite3.Connection], None]
) -> tuple[Projection, dict[str, int]]:
    """Raises: _Unusable, and what ``take_up`` raises."""
    with contextlib.ExitStack() as undo:
        try:
            projection = Projection.open(path, tables, version=version)
            undo.callback(projection.close)
            db = projection.db
            (checked,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if checked != "ok" or db.execute(_COLUMNS).fetchall() != _expected(tables):
                raise _Unusable(f"it is damaged: {checked}")
            positions = dict(db.execute("SELECT shard, next FROM position"))
            for shard, following in positions.items():
                there = size(shard)
                if there is not None and there < following:
                    raise _Unusable(f"it followed {following} records of {shard}, which has {there}")
            restore(db)
        except (sqlite3.Error, LookupError, TypeError, ValueError, *MALFORMED) as error:
            if isinstance(error, sqlite3.Error) and not damaged(error):
                raise
            raise _Unusable(f"it is damaged: {error}") from error
        undo.pop_all()
        return projection, positions


def _expected(tables: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript(f"{POSITIONS}; {tables};")
        return db.execute(_COLUMNS).fetchall()
