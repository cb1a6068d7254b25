"""The closing of usage: the same figures as a recount, in any window, killed anywhere, and without reading again."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observer.conftest import Shards, make_record

from gateway.ledger.follower import Tail
from gateway.observer.account import Account
from gateway.observer.closing import UsageFold, hours
from gateway.observer.followers import FoldFollower
from gateway.observer.lag import Lookout
from gateway.observer.reconcile import Reconciliation
from gateway.observer.usage import HOUR_US, Key, Sums

FOREVER = 2**62
T_US = 500_000 * HOUR_US


def close(shards: Shards, path: Path, *, steps: int = 10**9, kill: bool = False) -> None:
    """Fold ``steps`` batches into the closing; ``kill`` ends it as a SIGKILL would, without a last commit."""
    ticks = iter(range(0, 10**18, 400_000_000))
    follower = FoldFollower("usage", UsageFold(), path, clock_ns=lambda: next(ticks))
    lookout = Lookout(shards.root, lambda: 0)
    follower.open(lookout.size)
    lookout.close()
    tail = Tail(shards.root, [follower], batch=100)
    while steps and tail.step():
        steps -= 1
    tail.close()
    if kill:
        assert follower._projection is not None
        follower._projection.close()
    else:
        follower.close()


def account(
    shards: Shards, path: Path | None, window: tuple[int, int] = (0, FOREVER)
) -> tuple[dict[Key, Sums], Reconciliation]:
    made = Account(shards.root, *window, closing=path)
    check = made.read()
    return made.usage.rows, check


def scattered(dice: random.Random, count: int) -> Sequence[object]:
    """Records of three shards over a few hours, some at a time that jumps, some no prediction."""
    kinds: list[dict[str, object]] = [{}, {}, {"kind": "beat"}, {"method": "x/ModelMetadata"}]
    seqs = {"gw.0": 0, "gw.1": 0, "gw.2": 0}
    made = []
    for n in range(count):
        shard = dice.choice(sorted(seqs))
        at = T_US + n * HOUR_US * 5 // count + dice.choice([0, 0, 0, -3 * HOUR_US, HOUR_US // 2])
        tenant = f"t{dice.randrange(4)}"
        made.append(make_record(seqs[shard], shard=shard, t_us=at, tenant=tenant, **dice.choice(kinds)))
        seqs[shard] += 1
    return made


def test_killed_at_random_points_it_answers_as_a_recount_does(shards: Shards, tmp_path: Path) -> None:
    dice, closing = random.Random(11), tmp_path / "usage.db"
    shards.add(*scattered(dice, 3000))
    for _ in range(15):
        close(shards, closing, steps=dice.randrange(4), kill=True)
        counted, check = account(shards, None)
        assert account(shards, closing) == (counted, check)
        assert check.exact
    assert sum(sums.requests for sums in counted.values()) == check.billed


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 99), st.integers(-2 * HOUR_US, 7 * HOUR_US), st.integers(-HOUR_US, 6 * HOUR_US), st.integers(0, 6)
)
def test_any_window_has_the_same_account_however_much_is_closed(
    tmp_path_factory: pytest.TempPathFactory, seed: int, begin: int, length: int, steps: int
) -> None:
    folder = tmp_path_factory.mktemp("window")
    shards = Shards(folder / "ledger")
    shards.add(*scattered(random.Random(seed), 400))
    close(shards, folder / "usage.db", steps=steps)
    window = (T_US + begin, T_US + begin + length)
    assert account(shards, folder / "usage.db", window) == account(shards, None, window)


@given(st.integers(0, 5 * HOUR_US), st.integers(0, 5 * HOUR_US))
def test_every_moment_of_a_window_is_in_a_whole_hour_or_in_one_that_is_cut(begin: int, end: int) -> None:
    whole, partly = hours(begin, end)
    for at in {begin, end - 1, (begin + end) // 2} if begin < end else ():
        assert (at in whole) + sum(at in part for part in partly) == 1
    assert all(begin <= at and at + HOUR_US <= end for at in range(whole.start, whole.stop, HOUR_US))


def test_each_prediction_of_a_window_is_seen_once(shards: Shards, tmp_path: Path) -> None:
    shards.add(*scattered(random.Random(5), 900))
    close(shards, tmp_path / "usage.db", steps=2)
    window = (T_US + HOUR_US // 3, T_US + 3 * HOUR_US)
    seen: list[list[str]] = [[], []]
    for ids, closing in zip(seen, (tmp_path / "usage.db", None), strict=True):
        check = Account(shards.root, *window, closing=closing).read(
            lambda record, ids=ids: ids.append(record.prediction_id)
        )
        assert check.exact
        assert len(ids) == check.billed > 0
    assert sorted(seen[0]) == sorted(seen[1])
    assert len(set(seen[0])) == len(seen[0])


def test_what_is_closed_is_not_read_again(shards: Shards, tmp_path: Path) -> None:
    shards.add(*(make_record(n, t_us=T_US + n) for n in range(20_000)))
    closing = tmp_path / "usage.db"
    close(shards, closing)
    spent = []
    for path in (None, closing):
        begun = time.process_time()
        rows, check = account(shards, path)
        spent.append(time.process_time() - begun)
        assert (check.billed, check.exact, len(rows)) == (20_000, True, 1)
    assert spent[1] < spent[0] / 5


def test_sums_outlive_the_records_they_were_made_of_but_parts_of_hours_do_not(shards: Shards, tmp_path: Path) -> None:
    shards.add(*(make_record(n, t_us=T_US + n * HOUR_US // 10) for n in range(30)))
    closing = tmp_path / "usage.db"
    close(shards, closing)
    before, _ = account(shards, closing)
    with sqlite3.connect(next((shards.root / "gw.0").glob("*.db"))) as db:
        db.execute("DELETE FROM leaf WHERE seq < 15")
    db.close()
    rows, check = account(shards, closing)
    assert (rows, check.exact, check.ledger) == (before, True, 30)
    _, check = account(shards, closing, (T_US + HOUR_US // 2, FOREVER))
    assert not check.exact
    assert "ask for whole hours" in check.broken["gw.0"]


def test_a_shard_that_was_closed_and_is_gone_or_shorter_is_named(shards: Shards, tmp_path: Path) -> None:
    shards.add(*(make_record(n, shard=shard) for n in range(5) for shard in ("gw.0", "gw.1")))
    closing = tmp_path / "usage.db"
    close(shards, closing)
    shards.cut("gw.0", 3)
    for path in (shards.root / "gw.1").iterdir():
        path.unlink()
    _, check = account(shards, closing)
    assert not check.exact
    assert check.broken == {
        "gw.0": "it has 3 records and was followed to 5",
        "gw.1": "it was followed to 5 and is gone",
    }


def test_a_gap_that_was_closed_is_still_a_gap(shards: Shards, tmp_path: Path) -> None:
    shards.add(*(make_record(n) for n in range(10) if n != 4))
    close(shards, tmp_path / "usage.db")
    _, check = account(shards, tmp_path / "usage.db")
    assert (check.exact, check.ledger, check.billed) == (False, 10, 9)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 99])
def test_a_closing_that_cannot_be_read_is_as_good_as_none(shards: Shards, tmp_path: Path, content: bytes) -> None:
    shards.add(*(make_record(n) for n in range(10)))
    (tmp_path / "usage.db").write_bytes(content)
    assert account(shards, tmp_path / "usage.db") == account(shards, None)
