"""Days are closed once, when all their records were counted, with the digest of what ``gateway usage`` prints."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from observer.conftest import Clock, Shards, make_record
from typer.testing import CliRunner

from gateway.app.daily_usage import DailyUsage
from gateway.cli.usage import app
from gateway.errors import LedgerUnavailable
from gateway.ledger.events import Value
from gateway.ledger.follower import Tail
from gateway.observer.closing import DAY_US, UsageFold
from gateway.observer.followers import FoldFollower
from gateway.observer.usage import HOUR_US

DAY_0 = 1_790_035_200_000_000  # 2026-09-22T00:00Z


class FakeScribe:
    """Keeps events in memory; ``down`` refuses them."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Value]] = []
        self.down = False

    async def event(
        self, kind: str, *, actor: str = "", reason: str = "", fields: Mapping[str, Value] | None = None
    ) -> None:
        if self.down:
            raise LedgerUnavailable("disk full")
        assert kind == "report"
        self.events.append(fields or {})


class Days:
    """A gateway's directory, its closing on demand, and the daily closing that is tested."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.shards = Shards(data / "ledger")
        self.clock = Clock()
        self.scribe = FakeScribe()
        self.daily = self.made()

    def made(self) -> DailyUsage:
        (self.data / "observer").mkdir(parents=True, exist_ok=True)
        daily = DailyUsage(
            self.scribe,
            ledger=self.data / "ledger",
            closing=self.data / "observer" / "usage.db",
            memory=self.data / "observer" / "closed_days",
            clock_us=self.clock,
        )
        daily.open()
        return daily

    def fold(self) -> None:
        follower = FoldFollower("usage", UsageFold(), self.data / "observer" / "usage.db", clock_ns=lambda: 0)
        follower.open(lambda shard: 10**9)
        tail = Tail(self.data / "ledger", [follower])
        while tail.step():
            pass
        tail.close()
        follower.close()


@pytest.fixture
def days(tmp_path: Path) -> Days:
    return Days(tmp_path)


async def test_a_day_is_closed_an_hour_after_its_end_with_a_digest_that_anybody_can_check(days: Days) -> None:
    days.shards.add(*(make_record(n, t_us=DAY_0 + n * HOUR_US, tenant=f"t{n % 2}") for n in range(20)))
    days.fold()
    days.clock.now_us = DAY_0 + DAY_US + HOUR_US - 1
    await days.daily.step()
    assert days.scribe.events == []
    days.clock.now_us += 1
    await days.daily.step()
    await days.daily.step()
    (closed,) = days.scribe.events
    assert (closed["day"], closed["requests"], closed["shards"]) == ("2026-09-22", 20, ["gw.0:20"])
    by = "hour,tenant,principal,model,version"
    words = ["--data", str(days.data), "--from", "2026-09-22", "--to", "2026-09-23", "--group-by", by]
    printed = CliRunner().invoke(app, [*words, "--format", "csv"]).stdout
    assert closed["digest"] == f"sha256:{hashlib.sha256(printed.encode()).hexdigest()}"


async def test_a_day_waits_until_its_last_record_was_counted(days: Days) -> None:
    days.shards.add(make_record(0, t_us=DAY_0))
    days.fold()
    days.shards.add(make_record(1, t_us=DAY_0 + DAY_US - 1), make_record(2, t_us=DAY_0 + DAY_US))
    days.clock.now_us = DAY_0 + DAY_US + 2 * HOUR_US
    await days.daily.step()
    assert days.scribe.events == []
    days.fold()
    await days.daily.step()
    assert [event["requests"] for event in days.scribe.events] == [2]


async def test_a_restart_repeats_no_day_and_skips_none(days: Days) -> None:
    days.shards.add(*(make_record(n, t_us=DAY_0 + n * DAY_US) for n in (0, 1, 3, 20)))
    days.fold()
    days.clock.now_us = DAY_0 + DAY_US + HOUR_US
    await days.daily.step()
    days.clock.now_us = DAY_0 + 21 * DAY_US + HOUR_US
    for _ in range(4):
        days.daily = days.made()
        await days.daily.step()
    assert [event["day"] for event in days.scribe.events] == ["2026-09-22", "2026-09-23", "2026-09-25", "2026-10-12"]


async def test_a_governance_ledger_that_is_down_is_tried_again(days: Days) -> None:
    days.shards.add(make_record(0, t_us=DAY_0))
    days.fold()
    days.clock.now_us = DAY_0 + DAY_US + HOUR_US
    days.scribe.down = True
    with pytest.raises(LedgerUnavailable):
        await days.daily.step()
    days.scribe.down = False
    await days.daily.step()
    assert len(days.scribe.events) == 1


async def test_a_clock_that_jumps_either_way_closes_each_day_once(days: Days) -> None:
    days.shards.add(make_record(0, t_us=DAY_0))
    days.fold()
    closing = DAY_0 + DAY_US + HOUR_US
    for now_us in (closing, DAY_0 - 5 * DAY_US, closing, closing + 3000 * DAY_US, closing):
        days.clock.now_us = now_us
        await days.daily.step()
    days.shards.add(make_record(1, t_us=DAY_0 + DAY_US))
    days.fold()
    days.clock.now_us = closing + DAY_US
    await days.daily.step()
    assert [event["day"] for event in days.scribe.events] == ["2026-09-22", "2026-09-23"]
