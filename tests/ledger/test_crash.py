"""kill -9 under load: whatever was acknowledged is in the ledger exactly once, and the shard goes on behind it."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from gateway.ledger.logkeys import LogKeys
from gateway.ledger.notary import Notary
from gateway.ledger.verify import verify_data

from .conftest import clock_us
from .victim import CROWD, LONER, Victim, Who, assert_nothing_lost


def rounds(root: Path, count: int, seed: int, who: Who = CROWD) -> int:
    """Kill ``count`` storms on one shard at random moments; returns how many records were acknowledged."""
    chance, acknowledged = random.Random(seed), {}
    for _ in range(count):
        victim = Victim(root, producers=who[0], env=who[1])
        try:
            victim.wait_for(1)
            time.sleep(chance.uniform(0.0, 0.15))
            victim.kill()
            fresh = victim.acknowledged()
            assert not fresh.keys() & acknowledged.keys(), "a sequence number was promised twice"
            acknowledged |= fresh
        finally:
            victim.end()
        assert_nothing_lost(root, fresh, min(fresh))
        notary = Notary(root, LogKeys(root.parent / "keys" / "log"), clock_us=clock_us)
        notary.open()
        notary.catch_up()
        assert notary.alarms == {}
        notary.close()
    assert_nothing_lost(root, acknowledged)
    report = verify_data(root.parent)
    assert report.errors == []
    return len(acknowledged)


def test_a_few_kills_lose_nothing(root: Path) -> None:
    assert rounds(root, 4, seed=1) > 100


def test_a_few_kills_lose_nothing_of_a_loner(root: Path) -> None:
    assert rounds(root, 4, seed=3, who=LONER) > 20


@pytest.mark.chaos
def test_two_hundred_kills_lose_nothing(root: Path) -> None:
    assert rounds(root, 200, seed=2) > 10_000


@pytest.mark.chaos
def test_two_hundred_kills_lose_nothing_of_a_loner(root: Path) -> None:
    assert rounds(root, 200, seed=4, who=LONER) > 1_000


def test_a_stopped_writer_delays_and_loses_nothing(root: Path) -> None:
    victim = Victim(root)
    try:
        victim.wait_for(200)
        victim.process.send_signal(19)
        time.sleep(0.5)
        before = len(victim.lines())
        time.sleep(0.3)
        assert len(victim.lines()) == before
        victim.process.send_signal(18)
        victim.wait_for(before + 200)
        victim.kill()
        assert_nothing_lost(root, victim.acknowledged())
    finally:
        victim.end()
