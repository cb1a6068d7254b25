"""How metrics and usage are kept in SQLite."""

from __future__ import annotations

import sqlite3

import msgspec

from gateway.ledger.record import Record
from gateway.observer.beats import KINDS
from gateway.observer.metrics import Metrics, Snapshot
from gateway.observer.usage import Key, Sums, Usage

_snapshot = msgspec.json.Decoder(dict[str, list[tuple[tuple[str, ...], list[int]]]])


class MetricsFold:
    """Keeps ``Metrics`` as one snapshot."""

    tables = "CREATE TABLE snapshot (id INTEGER PRIMARY KEY CHECK (id = 0), state BLOB NOT NULL) STRICT"
    version = 1

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def restore(self, db: sqlite3.Connection) -> None:
        """Load the snapshot; without one, start at zero."""
        row = db.execute("SELECT state FROM snapshot").fetchone()
        state: Snapshot = _snapshot.decode(row[0]) if row else {}
        self._metrics.load(state)

    def apply(self, record: Record, leaf: bytes) -> None:
        """Fold one record."""
        self._metrics.apply(record)
        if record.kind in KINDS:
            self._metrics.beats.apply(leaf)

    def write(self, db: sqlite3.Connection) -> None:
        """Replace the snapshot."""
        state = msgspec.json.encode(self._metrics.dump())
        db.execute("INSERT OR REPLACE INTO snapshot VALUES (0, ?)", (state,))


_SUMS = Sums.__struct_fields__


class UsageFold:
    """Keeps ``Usage`` as rows; memory holds only what is not yet stored, so it does not grow with time."""

    version = 2
    tables = (
        "CREATE TABLE usage (hour_us INTEGER, tenant TEXT, principal TEXT, model TEXT, version TEXT, "
        + ", ".join(f"{name} INTEGER NOT NULL" for name in _SUMS)
        + ", PRIMARY KEY (hour_us, tenant, principal, model, version)) STRICT, WITHOUT ROWID; "
        "CREATE TABLE other (kind TEXT PRIMARY KEY, records INTEGER NOT NULL) STRICT"
    )

    def __init__(self) -> None:
        self._fresh = Usage()

    def restore(self, db: sqlite3.Connection) -> None:
        """Forget what was not stored: it will be read again."""
        self._fresh = Usage()

    def apply(self, record: Record, leaf: bytes) -> None:
        """Fold one record."""
        self._fresh.apply(record)

    def write(self, db: sqlite3.Connection) -> None:
        """Add what is not yet stored."""
        marks = ", ".join("?" * (len(Key._fields) + len(_SUMS)))
        sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
        db.executemany(
            f"INSERT INTO usage VALUES ({marks}) ON CONFLICT DO UPDATE SET {sums}",  # noqa: S608 - our own names
            [(*key, *msgspec.structs.astuple(row)) for key, row in self._fresh.rows.items()],
        )
        db.executemany(
            "INSERT INTO other VALUES (?, ?) ON CONFLICT DO UPDATE SET records = records + excluded.records",
            self._fresh.others.items(),
        )
        self._fresh = Usage()


def stored_usage(db: sqlite3.Connection) -> dict[Key, Sums]:
    """All stored rows."""
    rows = db.execute("SELECT * FROM usage ORDER BY hour_us, tenant, principal, model, version")
    width = len(Key._fields)
    return {Key(*row[:width]): Sums(**dict(zip(_SUMS, row[width:], strict=True))) for row in rows}
