"""Followers that fold records into a database of their own: metrics and usage."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway.ledger.record import Record
from gateway.observer.database import Database
from gateway.observer.metrics import Metrics, Snapshot
from gateway.observer.tail import BATCH, Tail
from gateway.observer.usage import Key, Sums, Usage

_snapshot = msgspec.json.Decoder(dict[str, list[tuple[tuple[str, ...], list[int]]]])


class Fold(Protocol):
    """What a follower does with records. ``apply`` changes memory, ``write`` stores it in the given transaction."""

    def restore(self, connection: sqlite3.Connection) -> None:
        """Take over what the database holds."""
        ...

    def apply(self, record: Record) -> None:
        """Fold one record."""
        ...

    def write(self, connection: sqlite3.Connection) -> None:
        """Store what changed."""
        ...


class MetricsFold:
    """Keeps ``Metrics`` as one snapshot."""

    SCHEMA = "CREATE TABLE IF NOT EXISTS snapshot (id INTEGER PRIMARY KEY CHECK (id = 0), state BLOB NOT NULL) STRICT"

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def restore(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT state FROM snapshot").fetchone()
        state: Snapshot = _snapshot.decode(row[0]) if row else {}
        self._metrics.load(state)

    def apply(self, record: Record) -> None:
        self._metrics.apply(record)

    def write(self, connection: sqlite3.Connection) -> None:
        state = msgspec.json.encode(self._metrics.dump())
        connection.execute("INSERT OR REPLACE INTO snapshot VALUES (0, ?)", (state,))


class UsageFold:
    """Keeps ``Usage`` as rows; memory holds only what is not yet stored, so it does not grow with time."""

    _SUMS = Sums.__struct_fields__
    SCHEMA = (
        "CREATE TABLE IF NOT EXISTS usage (hour_us INTEGER, tenant TEXT, principal TEXT, model TEXT, version TEXT, "
        + ", ".join(f"{name} INTEGER NOT NULL" for name in _SUMS)
        + ", PRIMARY KEY (hour_us, tenant, principal, model, version)) STRICT, WITHOUT ROWID;"
        "CREATE TABLE IF NOT EXISTS other (kind TEXT PRIMARY KEY, records INTEGER NOT NULL) STRICT"
    )
    _UPSERT = (
        f"INSERT INTO usage VALUES ({', '.join('?' * (5 + len(_SUMS)))}) ON CONFLICT DO UPDATE SET "  # noqa: S608 - names of our own fields
        + ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
    )

    def __init__(self) -> None:
        self._fresh = Usage()

    def restore(self, connection: sqlite3.Connection) -> None:
        self._fresh = Usage()

    def apply(self, record: Record) -> None:
        self._fresh.apply(record)

    def write(self, connection: sqlite3.Connection) -> None:
        rows = [(*key, *msgspec.structs.astuple(sums)) for key, sums in self._fresh.rows.items()]
        connection.executemany(self._UPSERT, rows)
        connection.executemany(
            "INSERT INTO other VALUES (?, ?) ON CONFLICT DO UPDATE SET records = records + excluded.records",
            self._fresh.others.items(),
        )
        self._fresh = Usage()

    @staticmethod
    def read(connection: sqlite3.Connection) -> list[tuple[Key, Sums]]:
        """All stored rows."""
        rows = connection.execute("SELECT * FROM usage ORDER BY hour_us, tenant, principal, model, version")
        return [(Key(*row[:5]), Sums(**dict(zip(UsageFold._SUMS, row[5:], strict=True)))) for row in rows]


class Follower:
    """Drives one fold along the ledger. ``name`` is its label in the lag metric and its database's name."""

    def __init__(self, name: str, fold: Fold, database: Database, tail: Tail) -> None:
        self.name = name
        self._fold = fold
        self._database = database
        self._tail = tail
        self._next: dict[str, int] = {}
        self._dirty = False

    def open(self) -> None:
        """Restore fold and positions; a ledger shorter than what was followed is another ledger: start over."""
        self._next = self._database.open()
        if any(self._tail.size(shard) < next for shard, next in self._next.items()):
            self._database.erase()
            self._next = self._database.open()
        self._fold.restore(self._database.connection)

    def step(self) -> int:
        """Fold at most one batch of each shard; returns how many records that were."""
        folded = 0
        for shard in self._tail.shards():
            first = self._next.get(shard, 0)
            entries = self._tail.read(shard, first, BATCH)
            for _, record in entries:
                self._fold.apply(record)
            if entries:
                self._next[shard] = entries[-1][0] + 1
                folded += len(entries)
        self._dirty = self._dirty or folded > 0
        return folded

    def commit(self) -> None:
        """Store output and positions together, if anything changed."""
        if self._dirty:
            self._database.commit(self._next, self._fold.write)
            self._dirty = False

    def lag_us(self, now_us: int) -> int:
        """Age of the oldest record not yet folded, 0 when there is none."""
        return lag_us(self._tail, self._next.get, now_us)

    def close(self) -> None:
        """Commit and close."""
        self.commit()
        self._database.close()


def lag_us(tail: Tail, position: Callable[[str, int], int], now_us: int) -> int:
    """How long the oldest record at or after ``position`` has waited, over all shards; never negative."""
    lag = 0
    for shard in tail.shards():
        waiting = tail.read(shard, position(shard, 0))
        if waiting and waiting[0][1].t_us:
            lag = max(lag, now_us - waiting[0][1].t_us)
    return lag
