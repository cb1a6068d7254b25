"""How metrics are kept in SQLite."""

from __future__ import annotations

import sqlite3

import msgspec

from gateway.ledger.record import Record
from gateway.observer.beats import KINDS
from gateway.observer.metrics import Metrics, Snapshot

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
