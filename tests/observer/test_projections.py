"""A follower's database is only a projection: whatever was done to it, the ledger tells the same again."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.ledger.errors import LedgerCorrupt, LedgerNewer
from gateway.ledger.follower import Tail
from gateway.observer.folds import MetricsFold
from gateway.observer.followers import FoldFollower
from gateway.observer.lag import Lookout
from gateway.observer.metrics import Metrics
from gateway.observer.projections import take_up

RECORDS = 300


def counted(shards, path: Path) -> int:
    """Follow the ledger to its end, and count the requests."""
    metrics = Metrics()
    follower = FoldFollower("metrics", MetricsFold(metrics), path, clock_ns=lambda: 0)
    lookout = Lookout(shards.root, lambda: 0)
    follower.open(lookout.size)
    lookout.close()
    tail = Tail(shards.root, [follower], batch=100)
    while tail.step():
        pass
    follower.close()
    tail.close()
    return sum(metrics.requests.cells.values())


@pytest.fixture
def path(shards, record, tmp_path: Path) -> Path:
    """The database of a follower that has come to the end."""
    shards.add(*(record(seq, tenant=f"t{seq % 40}") for seq in range(RECORDS)))
    assert counted(shards, tmp_path / "m.db") == RECORDS
    return tmp_path / "m.db"


def sql(statement: str) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(statement)

    return act


DAMAGES: dict[str, Callable[[Path], None]] = {
    "no database": lambda path: path.write_bytes(b"not what it was" * 2_000),
    "half a file": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a snapshot that is no JSON": sql("UPDATE snapshot SET state = x'7b'"),
    "a snapshot that is no text": sql("UPDATE snapshot SET state = CAST('{\"' || x'ff' || '\":[]}' AS BLOB)"),
    "a snapshot without values": sql("UPDATE snapshot SET state = CAST('{\"since_us\":[[[],[]]]}' AS BLOB)"),
    "no snapshot's table": sql("DROP TABLE snapshot"),
    "a column of another name": sql("ALTER TABLE snapshot RENAME COLUMN state TO stale"),
    "a shard that is no text": sql("UPDATE position SET shard = CAST(x'ff' AS TEXT)"),
    "a position ahead": sql(f"UPDATE position SET next = {1 << 62}"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_one_is_set_aside_and_told_again(shards, path: Path, damage: Callable[[Path], None]) -> None:
    for again in ("", "1", "2"):  # none of those set aside is lost
        damage(path)
        assert counted(shards, path) == RECORDS
        assert path.with_suffix(f".broken{again}").exists()


def test_damage_anywhere_is_set_aside_or_within_a_value(shards, path: Path) -> None:
    whole, aside = path.read_bytes(), path.with_suffix(".broken")
    chance = random.Random(5)
    refused = 0
    for turn in range(80):
        raw = bytearray(whole)
        at = chance.randrange(100) if turn % 2 else chance.randrange(100, len(raw))
        raw[at : at + 4] = chance.randbytes(len(raw[at : at + 4]))
        path.write_bytes(raw)
        try:
            found = counted(shards, path)
        except (LedgerNewer, sqlite3.OperationalError):  # it says that it is newer, or read-only
            refused += 1
            continue
        if aside.exists():
            aside.unlink()
            assert found == RECORDS
        else:
            assert counted(shards, path) == found, "what was kept cannot be written"
    assert refused < 20


def test_a_shard_that_cannot_be_read_is_no_shorter_one(shards, record, path: Path) -> None:
    """What was told of it stays: it may have been pruned since, and what was delivered is not delivered again."""
    whole = {file: file.read_bytes() for file in (shards.root / "gw.0").iterdir()}
    for file in whole:
        file.unlink()
    (shards.root / "gw.0" / "000000000000.db").write_bytes(b"no segment" * 500)
    with pytest.raises(LedgerCorrupt):
        counted(shards, path)
    assert not path.with_suffix(".broken").exists()
    for file, raw in whole.items():
        file.write_bytes(raw)
    shards.add(record(RECORDS))
    assert counted(shards, path) == RECORDS + 1


def test_what_is_set_aside_is_whole_though_another_process_reads_it(shards, path: Path) -> None:
    """Then closing moves no log into the file; the log goes along."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT * FROM position").fetchall()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE sums AS SELECT 7 AS requests")
    assert counted(shards, path) == RECORDS  # a table too many
    other.close()
    with closing(sqlite3.connect(path.with_suffix(".broken"))) as aside:
        assert aside.execute("SELECT requests FROM sums").fetchall() == [(7,)]


def test_one_that_is_sound_goes_on(shards, record, path: Path) -> None:
    shards.add(record(RECORDS))
    assert counted(shards, path) == RECORDS + 1
    assert not path.with_suffix(".broken").exists()


def test_a_newer_one_is_not_touched(path: Path) -> None:
    sql("PRAGMA user_version=9")(path)
    with pytest.raises(LedgerNewer):
        take_up(path, lambda _: RECORDS)
    assert not path.with_suffix(".broken").exists()
