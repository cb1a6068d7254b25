"""Followers: applying twice is applying once, a crash between output and position cannot happen, none stops another."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger import events
from gateway.ledger.errors import LedgerNewer
from gateway.ledger.follower import Batch, Tail, follow
from gateway.ledger.projection import Projection

from .conftest import Open, fill


class Counting:
    """A follower with a database: counts leaves, and dies when told to, before or after its output."""

    name = "counting"

    def __init__(self, path: Path) -> None:
        self._projection = Projection.open(path, "CREATE TABLE seen (shard TEXT, seq INTEGER, size INTEGER)", version=1)
        self.die_in = -1

    def position(self, shard: str) -> int:
        return self._projection.position(shard)

    def apply(self, shard: str, batch: Batch) -> None:
        start = self.position(shard)
        fresh = [(shard, seq, len(leaf)) for seq, leaf in batch if seq >= start]
        if not fresh:
            return
        with self._projection.advance(shard, fresh[-1][1] + 1) as db:
            for item in fresh:
                self.die_in -= 1
                if self.die_in == 0:
                    raise RuntimeError("killed")
                db.execute("INSERT INTO seen VALUES (?,?,?)", item)

    def seen(self) -> list[tuple[str, int]]:
        return self._projection.db.execute("SELECT shard, seq FROM seen ORDER BY shard, seq").fetchall()

    def close(self) -> None:
        self._projection.close()


async def test_followers_see_every_leaf_of_every_shard_once(root: Path, tmp_path: Path, open_shard: Open) -> None:
    one, two = await open_shard("gw.0", segment_leaves=40), await open_shard("gw.1")
    await fill(one, 100)
    await fill(two, 50)
    counting = Counting(tmp_path / "c.db")
    stop = asyncio.Event()
    running = asyncio.create_task(follow(root, [counting], stop=stop, poll_s=0.001))
    await fill(one, 30)
    stop.set()
    await running
    assert counting.seen() == [("gw.0", i) for i in range(131)] + [("gw.1", i) for i in range(51)]
    counting.close()


async def test_a_follower_killed_at_any_point_equals_one_that_was_not(
    root: Path, tmp_path: Path, open_shard: Open
) -> None:
    ledger = await open_shard()
    await fill(ledger, 60)
    tail = Tail(root, [calm := Counting(tmp_path / "calm.db")], batch=7)
    while tail.step():
        pass
    tail.close()
    for die_at in (1, 2, 7, 8, 30, 61):
        path = tmp_path / f"dying-{die_at}.db"
        for round_ in range(2):
            follower = Counting(path)
            follower.die_in = die_at if round_ == 0 else -1
            tail = Tail(root, [follower], batch=7)
            try:
                while tail.step():
                    pass
            except RuntimeError:
                assert round_ == 0
            finally:
                tail.close()
            if round_ == 1:
                assert follower.seen() == calm.seen()
            follower.close()
    calm.close()


async def test_one_that_fails_does_not_hold_up_the_others(root: Path, tmp_path: Path, open_shard: Open) -> None:
    ledger = await open_shard()
    await fill(ledger, 20)
    bad, good = Counting(tmp_path / "bad.db"), Counting(tmp_path / "good.db")
    bad.die_in = 5
    tail = Tail(root, [bad, good])
    with pytest.raises(RuntimeError):
        tail.step()
    assert len(good.seen()) == 21
    assert bad.seen() == []
    assert tail.lag() == {("counting", "gw.0"): 0}
    tail.step()
    assert bad.seen() == good.seen()
    tail.close()
    bad.close()
    good.close()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=10))
def test_applying_a_batch_again_changes_nothing(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    follower = Counting(tmp_path_factory.mktemp("f") / "f.db")
    start = 0
    for cut in cuts:
        batch = [(seq, b"leaf") for seq in range(start, start + cut)]
        follower.apply("s", batch)
        follower.apply("s", batch)
        start += cut
    assert follower.seen() == [("s", i) for i in range(start)]
    follower.close()


def test_an_older_projection_is_rebuilt_and_a_newer_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    first = Projection.open(path, "CREATE TABLE t (x)", version=1)
    with first.advance("s", 5) as db:
        db.execute("INSERT INTO t VALUES (1)")
    first.close()
    second = Projection.open(path, "CREATE TABLE t (x, y)", version=2)
    assert second.position("s") == 0
    assert second.db.execute("SELECT * FROM t").fetchall() == []
    second.close()
    with pytest.raises(LedgerNewer, match="version 2"):
        Projection.open(path, "CREATE TABLE t (x)", version=1)


def test_events_take_flat_values_only() -> None:
    with pytest.raises(ValueError, match="unknown event kind"):
        events.event("party", boot="", t_us=0)
    with pytest.raises(ValueError, match="an integer of 64 bits, of at most 63"):
        events.event("boot", boot="b", t_us=1, fields={"size": 1 << 63})
    with pytest.raises(ValueError, match="float"):
        events.event("alert", boot="", t_us=0, fields={"x": 1.5})  # type: ignore[dict-item]
    leaf = events.event("approved", boot="b", t_us=1, actor="eva", reason="ok", fields={"n": 2, "to": ["a"]})("gov", 7)
    assert leaf == (
        b'{"v":1,"kind":"approved","shard":"gov","seq":7,"boot":"b","t_us":1,"actor":"eva","reason":"ok",'
        b'"fields":{"n":2,"to":["a"]}}'
    )
