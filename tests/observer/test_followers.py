"""Followers keep their position and their output together: killed anywhere, they end where a rebuild ends."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

from gateway.ledger.errors import LedgerCorrupt
from gateway.observer.database import Database
from gateway.observer.followers import Follower, MetricsFold, UsageFold
from gateway.observer.metrics import Metrics


def usage_follower(path: Path, tail) -> Follower:
    return Follower("usage", UsageFold(), Database(path, UsageFold.SCHEMA), tail)


def rows(path: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT * FROM usage ORDER BY 1, 2, 3, 4, 5").fetchall()


def test_usage_killed_at_random_points_equals_a_rebuild(shards, record, tmp_path: Path) -> None:
    dice = random.Random(7)
    for seq in range(4000):
        shards.add(record(seq, shard=f"gw.{seq % 3}", tenant=f"t{dice.randrange(5)}", rows=dice.randrange(9)))
    for _ in range(40):
        follower = usage_follower(tmp_path / "a.db", shards.tail())
        follower.open()
        for _ in range(dice.randrange(4)):
            follower.step()
            if dice.random() < 0.5:
                follower.commit()
        follower._database.close()  # as a kill would: nothing is committed on the way out
    for name in ("a.db", "b.db"):
        follower = usage_follower(tmp_path / name, shards.tail())
        follower.open()
        while follower.step():
            pass
        follower.close()
    assert rows(tmp_path / "a.db") == rows(tmp_path / "b.db")
    assert sum(row[5] for row in rows(tmp_path / "a.db")) == 4000


def test_metrics_survive_a_restart(shards, record, tmp_path: Path) -> None:
    for restart in range(3):
        shards.add(record(restart))
        metrics = Metrics()
        follower = Follower(
            "metrics", MetricsFold(metrics), Database(tmp_path / "m.db", MetricsFold.SCHEMA), shards.tail()
        )
        follower.open()
        while follower.step():
            pass
        follower.close()
        assert sum(metrics.requests.cells.values()) == restart + 1


def test_a_gap_and_an_unreadable_leaf_are_passed_and_counted(shards, record, tmp_path: Path) -> None:
    shards.add(record(5), record(9))
    shards.leaves["gw.0"].append((10, b'{"not": "a record"'))
    follower = usage_follower(tmp_path / "u.db", shards.tail())
    follower.open()
    assert follower.step() == 3
    assert follower.step() == 0
    follower.close()
    with sqlite3.connect(tmp_path / "u.db") as connection:
        assert connection.execute("SELECT * FROM other").fetchall() == [("unreadable", 1)]
        assert connection.execute("SELECT next FROM position").fetchall() == [(11,)]


def test_a_ledger_shorter_than_what_was_followed_starts_the_projection_over(shards, record, tmp_path: Path) -> None:
    shards.add(*(record(seq) for seq in range(10)))
    first = usage_follower(tmp_path / "u.db", shards.tail())
    first.open()
    first.step()
    first.close()
    shards.leaves["gw.0"] = shards.leaves["gw.0"][:4]
    second = usage_follower(tmp_path / "u.db", shards.tail())
    second.open()
    second.step()
    second.close()
    assert sum(row[5] for row in rows(tmp_path / "u.db")) == 4


def test_a_database_that_is_not_one_is_set_aside_and_rebuilt(shards, record, tmp_path: Path) -> None:
    (tmp_path / "u.db").write_bytes(b"this is no database, but it is long enough to be looked at" * 99)
    shards.add(record(0))
    follower = usage_follower(tmp_path / "u.db", shards.tail())
    follower.open()
    follower.step()
    follower.close()
    assert sum(row[5] for row in rows(tmp_path / "u.db")) == 1
    assert (tmp_path / "u.broken").exists()


def test_a_shard_that_cannot_be_read_stops_nobody_and_is_named(shards, record, tmp_path: Path) -> None:
    shards.add(record(0))
    shards.fail = LedgerCorrupt("segment 0 cannot be read")
    tail = shards.tail()
    follower = usage_follower(tmp_path / "u.db", tail)
    follower.open()
    assert follower.step() == 0
    assert tail.broken == {"gw.0": "segment 0 cannot be read"}
    shards.fail = None
    assert follower.step() == 1
    assert tail.broken == {}
    follower.close()


def test_lag_is_the_age_of_the_oldest_record_not_yet_folded(shards, record, clock, tmp_path: Path) -> None:
    shards.add(record(0, t_us=clock.now_us - 3_000_000), record(1, t_us=clock.now_us - 1))
    follower = usage_follower(tmp_path / "u.db", shards.tail())
    follower.open()
    assert follower.lag_us(clock.now_us) == 3_000_000
    assert follower.lag_us(clock.now_us - 9_000_000) == 0  # the clock was set back
    follower.step()
    assert follower.lag_us(clock.now_us) == 0
    follower.close()
