"""A changed policy reaches every worker, and one that is refused is refused by every worker."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from running import ROOT, start

from gateway.observer import state
from gateway.observer.state import PolicyState


def converged(states: Path, workers: int, *, unlike: PolicyState) -> PolicyState:
    """What every worker says of its policy, once all say the same and it is not ``unlike``."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        said = [worker.policy for worker in state.read(states)]
        alike = {(policy.revision, policy.digest, policy.error) for policy in said}
        if len(said) == workers and len(alike) == 1 and alike != {(unlike.revision, unlike.digest, unlike.error)}:
            return said[0]
        time.sleep(0.1)
    raise AssertionError(said)


def test_workers_change_their_policy_together_and_refuse_it_together(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies)
    gateway = start(tmp_path / "data", "--workers", "3", policies=policies)
    states = gateway.data / "state"
    first = converged(states, 3, unlike=PolicyState())
    data = policies / "data.json"
    good = data.read_text()
    data.write_text(good.replace('"version": "2026-11-23.1"', '"version": "next"'))
    second = converged(states, 3, unlike=first)
    assert (second.digest != first.digest, second.error) == (True, "")
    data.write_text(good[:-20])
    third = converged(states, 3, unlike=second)
    assert (third.digest, "data.json" in third.error) == (second.digest, True)
    assert gateway.stop() == 0
