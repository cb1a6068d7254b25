"""kill -9 of workers, observer and supervisor of a gateway under load: each acknowledged id is there exactly once."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from gateway.ledger import record
from gateway.ledger.export import is_call, leaves
from gateway.ledger.reader import shards
from gateway.ledger.verify import verify_data

from .besieged import Besieged
from .test_proof import standalone

ROLES = ("worker", "worker", "worker", "worker", "observer", "worker", "observer", "supervisor")


def siege(data: Path, kills: int, seed: int, *, looks: int) -> int:
    """Kill ``kills`` times; returns how many answers were acknowledged.

    Of these, ``looks`` times all processes are killed at once, and both verifiers look at what lies there then.
    """
    chance, gateway = random.Random(seed), Besieged(data)
    try:
        gateway.start()
        for turn in range(kills):
            gateway.wait_for(20)
            time.sleep(chance.uniform(0.0, 0.2))
            if (turn + 1) % (kills // looks) == 0:
                gateway.kill_all()
                look(data)
                gateway.restart()
            else:
                gateway.kill(ROLES[turn % len(ROLES)])
        gateway.wait_for(20)
    finally:
        gateway.stop()
    report = verify_data(data)
    assert report.findings == []
    assert all(item.head == item.leaves for item in report.coverage), "an orderly end signs everything"
    recorded = {
        item.prediction_id
        for shard in shards(data / "ledger")
        for leaf in leaves(data / "ledger", shard)
        if is_call(leaf) and (item := record.decode(leaf)).outcome == "answered"
    }
    assert len(set(gateway.acknowledged)) == len(gateway.acknowledged), "an id was given twice"
    lost = set(gateway.acknowledged) - recorded
    assert not lost, f"{len(lost)} acknowledged predictions are not recorded: {sorted(lost)[:5]}"
    return len(gateway.acknowledged)


def look(data: Path) -> None:
    """Nothing repairs the ledger before it is verified: what a crash leaves is no evidence of tampering."""
    report = verify_data(data)
    assert (report.exit_status, report.errors) == (0, [])
    status, text = standalone(data)
    assert status == 0, text


@pytest.mark.slow
def test_a_gateway_that_loses_every_kind_of_process_once_loses_no_record(tmp_path: Path) -> None:
    assert siege(tmp_path / "data", len(ROLES) + 1, seed=3, looks=1) > 100


@pytest.mark.chaos
def test_two_hundred_and_ten_kills_of_any_process_lose_no_record(tmp_path: Path) -> None:
    assert siege(tmp_path / "data", 210, seed=4, looks=10) > 2_000
