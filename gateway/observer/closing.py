"""The closing of usage: hourly sums that the observer keeps up to date, so that nobody has to read the records again.

One SQLite file, ``<data>/observer/usage.db``. Beside the sums it holds what makes them provable: how many records of
each shard they stand for, and where in the shard the predictions of each hour lie, so that a part of an hour can be
read from the ledger alone.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.ledger.record import Record
from gateway.observer.usage import HOUR_US, Key, Sums, Usage

DAY_US = 24 * HOUR_US
VERSION = 3
_SUMS = Sums.__struct_fields__
_KEY = ", ".join(Key._fields)
TABLES = (
    "CREATE TABLE usage (hour_us INTEGER, tenant TEXT, principal TEXT, model TEXT, version TEXT, "
    + ", ".join(f"{name} INTEGER NOT NULL" for name in _SUMS)
    + f", PRIMARY KEY ({_KEY})) STRICT, WITHOUT ROWID; "
    "CREATE TABLE other (kind TEXT PRIMARY KEY, records INTEGER NOT NULL) STRICT; "
    "CREATE TABLE counted (shard TEXT PRIMARY KEY, first INTEGER NOT NULL, records INTEGER NOT NULL) STRICT; "
    "CREATE TABLE span (hour_us INTEGER, shard TEXT, first INTEGER NOT NULL, last INTEGER NOT NULL, "
    "records INTEGER NOT NULL, PRIMARY KEY (hour_us, shard)) STRICT, WITHOUT ROWID"
)


class Span(NamedTuple):
    """Where the predictions of one hour lie in a shard: ``records`` of them, from ``first`` to ``last``."""

    hour_us: int
    shard: str
    first: int
    last: int
    records: int


class UsageFold:
    """Folds records into the closing; memory holds only what is not yet stored, so it does not grow with time."""

    version = VERSION
    tables = TABLES

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._fresh = Usage()
        self._counted: dict[str, list[int]] = {}
        self._spans: dict[tuple[int, str], list[int]] = {}

    def restore(self, db: sqlite3.Connection) -> None:
        """Forget what was not stored: it will be read again."""
        self._forget()

    def apply(self, record: Record, leaf: bytes) -> None:
        """Fold one record."""
        key = self._fresh.apply(record)
        self._counted.setdefault(record.shard, [record.seq, 0])[1] += 1
        if key is not None:
            span = self._spans.setdefault((key.hour_us, record.shard), [record.seq, record.seq, 0])
            span[1] = record.seq
            span[2] += 1

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
        db.executemany(
            "INSERT INTO counted VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET records = records + excluded.records",
            [(shard, *counted) for shard, counted in self._counted.items()],
        )
        db.executemany(
            "INSERT INTO span VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET records = records + excluded.records, last = excluded.last",
            [(*key, *span) for key, span in self._spans.items()],
        )
        self._forget()


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """What a closing holds of a window, at one moment. ``positions`` is how far it followed each shard, ``counted``
    the first record of each that it saw and how many; ``predictions`` and ``others`` are all of those, ``rows`` and
    ``spans`` those of the hours that were asked for."""

    positions: Mapping[str, int] = {}
    counted: Mapping[str, tuple[int, int]] = {}
    predictions: int = 0
    others: Mapping[str, int] = {}
    rows: Mapping[Key, Sums] = {}
    spans: Sequence[Span] = ()


def read_closed(path: Path, *, whole: range, partly: Sequence[range]) -> Closed:
    """The closing in ``path``: the sums of the hours in ``whole``, the spans of those in ``partly`` (in microseconds).

    One that is not there, of another version, or cannot be read is as good as none: the records tell the same.
    """
    if not path.exists():
        return Closed()
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        ) as db:
            db.execute("BEGIN")  # all of one moment, while the observer goes on
            if db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                return Closed()
            return _read(db, whole, partly)
    except sqlite3.DatabaseError:
        return Closed()


def used_days(path: Path) -> list[int]:
    """The starts of the days (UTC, microseconds) with a prediction in the closing at ``path``, in order."""
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        found = db.execute("SELECT DISTINCT hour_us / ? FROM usage ORDER BY 1", (DAY_US,))
        return [day * DAY_US for (day,) in found]


def _read(db: sqlite3.Connection, whole: range, partly: Sequence[range]) -> Closed:
    width = len(Key._fields)
    rows = db.execute(
        "SELECT * FROM usage WHERE hour_us >= ? AND hour_us < ? ORDER BY hour_us, tenant, principal, model, version",
        (whole.start, whole.stop),
    )
    ask = "SELECT * FROM span WHERE hour_us >= ? AND hour_us < ? ORDER BY hour_us, shard"
    spans = [Span(*row) for part in partly for row in db.execute(ask, (part.start, part.stop))]
    return Closed(
        positions=dict(db.execute("SELECT shard, next FROM position")),
        counted={shard: (first, records) for shard, first, records in db.execute("SELECT * FROM counted")},
        predictions=db.execute("SELECT coalesce(sum(requests), 0) FROM usage").fetchone()[0],
        others=dict(db.execute("SELECT kind, records FROM other")),
        rows={Key(*row[:width]): Sums(**dict(zip(_SUMS, row[width:], strict=True))) for row in rows},
        spans=spans,
    )


def hours(from_us: int, to_us: int) -> tuple[range, list[range]]:
    """The hours that lie wholly in ``from_us`` <= t < ``to_us``, and those that the window cuts."""
    first, last = from_us - from_us % HOUR_US, to_us - to_us % HOUR_US
    begin = first if first == from_us else first + HOUR_US
    cut = dict.fromkeys(hour for hour, at in ((first, from_us), (last, to_us)) if hour != at and from_us < to_us)
    return range(begin, max(begin, last)), [range(hour, hour + HOUR_US) for hour in cut]
