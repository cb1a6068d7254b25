"""Followers keep their position and their output together: killed anywhere, they end where a rebuild ends."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

from gateway.ledger.follower import Tail
from gateway.observer.closing import UsageFold, read_closed
from gateway.observer.folds import MetricsFold
from gateway.observer.followers import FoldFollower
from gateway.observer.lag import Lookout
from gateway.observer.metrics import Metrics


class Ticks:
    """A monotonic clock that moves half a second at each look, so that every other batch commits."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        self.now_ns += 500_000_000
        return self.now_ns


def opened(shards, path: Path, fold=None) -> tuple[FoldFollower, Tail]:
    follower = FoldFollower("usage", fold or UsageFold(), path, clock_ns=Ticks())
    follower.open(Lookout(shards.root, lambda: 0).size)
    return follower, Tail(shards.root, [follower], batch=100)


def finish(shards, path: Path) -> list[tuple[object, object]]:
    follower, tail = opened(shards, path)
    while tail.step():
        pass
    follower.close()
    tail.close()
    return list(read_closed(path, whole=range(2**62), partly=()).rows.items())


def test_usage_killed_at_random_points_equals_a_rebuild(shards, record, tmp_path: Path) -> None:
    dice = random.Random(7)
    shards.add(
        *(record(n, shard=f"gw.{n % 3}", tenant=f"t{dice.randrange(5)}", rows=dice.randrange(9)) for n in range(4000))
    )
    for _ in range(20):
        follower, tail = opened(shards, tmp_path / "killed.db")
        for _ in range(dice.randrange(4)):
            tail.step()
        follower._projection.close()  # as a kill would: nothing is committed on the way out
        tail.close()
    killed, rebuilt = finish(shards, tmp_path / "killed.db"), finish(shards, tmp_path / "rebuilt.db")
    assert killed == rebuilt
    assert sum(sums.requests for _, sums in killed) == 4000


def test_metrics_survive_a_restart(shards, record, tmp_path: Path) -> None:
    for restart in range(3):
        shards.add(record(restart))
        metrics = Metrics()
        follower, tail = opened(shards, tmp_path / "m.db", MetricsFold(metrics))
        while tail.step():
            pass
        follower.close()
        tail.close()
        assert sum(metrics.requests.cells.values()) == restart + 1


def test_applying_a_batch_twice_counts_it_once(shards, record, tmp_path: Path) -> None:
    from gateway.ledger.leaf import encode

    shards.add(record(0))
    metrics = Metrics()
    follower, tail = opened(shards, tmp_path / "m.db", MetricsFold(metrics))
    batch = [(n, encode(record(n))) for n in range(3)]
    follower.apply("gw.0", batch)
    follower.apply("gw.0", batch)
    follower.apply("gw.0", [*batch[2:], (3, encode(record(3)))])
    assert sum(metrics.requests.cells.values()) == 4
    follower.close()
    tail.close()


def test_a_gap_and_an_unreadable_leaf_are_passed_and_counted(shards, record, tmp_path: Path) -> None:
    shards.add(record(5), record(9))
    shards.add_leaves("gw.0", [(10, b'{"not": "a record"')])
    follower, tail = opened(shards, tmp_path / "u.db")
    assert tail.step() == 3
    assert tail.step() == 0
    follower.close()
    tail.close()
    with sqlite3.connect(tmp_path / "u.db") as db:
        assert db.execute("SELECT * FROM other").fetchall() == [("unreadable", 1)]
        assert db.execute("SELECT * FROM position").fetchall() == [("gw.0", 11)]


def test_a_ledger_shorter_than_what_was_followed_starts_the_projection_over(shards, record, tmp_path: Path) -> None:
    shards.add(*(record(seq) for seq in range(10)))
    assert sum(sums.requests for _, sums in finish(shards, tmp_path / "u.db")) == 10
    shards.cut("gw.0", 4)
    assert sum(sums.requests for _, sums in finish(shards, tmp_path / "u.db")) == 4


def test_a_database_that_is_not_one_is_set_aside_and_rebuilt(shards, record, tmp_path: Path) -> None:
    (tmp_path / "u.db").write_bytes(b"this is no database, but it is long enough to be looked at" * 99)
    shards.add(record(0))
    assert sum(sums.requests for _, sums in finish(shards, tmp_path / "u.db")) == 1
    assert (tmp_path / "u.broken").exists()


def test_a_shard_that_cannot_be_read_is_named_and_the_others_go_on(shards, record, tmp_path: Path) -> None:
    shards.add(record(0), record(0, shard="gw.1"))
    broken = shards.root / "gw.0" / "000000000000.db"
    for suffix in ("-wal", "-shm"):
        broken.with_name(broken.name + suffix).unlink(missing_ok=True)
    broken.write_bytes(b"no segment" * 500)
    lookout = Lookout(shards.root, lambda: 0)
    assert lookout.sizes() == {"gw.0": 0, "gw.1": 1}
    assert list(lookout.broken) == ["gw.0"]
    lookout.close()


def test_lag_is_the_age_of_the_oldest_record_not_yet_folded(shards, record, clock, tmp_path: Path) -> None:
    shards.add(record(0, t_us=clock.now_us - 3_000_000), record(1, t_us=clock.now_us - 1))
    follower, tail = opened(shards, tmp_path / "u.db")
    lookout = Lookout(shards.root, clock)
    assert lookout.lags_us([follower]) == {"usage": 3_000_000}
    clock.now_us -= 9_000_000
    assert lookout.lags_us([follower]) == {"usage": 0}  # the clock was set back
    clock.now_us += 9_000_000
    tail.step()
    assert lookout.lags_us([follower]) == {"usage": 0}
    for each in (follower, tail, lookout):
        each.close()
