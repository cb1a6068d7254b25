"""No scrape sees a counter fall: after a start it waits for the fold, unless the fold is stuck."""

from __future__ import annotations

import pytest

from gateway.observer.catch_up import PATIENCE_NS, CatchingUp, CatchUp


class Follower:
    name = "metrics"

    def __init__(self) -> None:
        self.at: dict[str, int] = {}

    def position(self, shard: str) -> int:
        return self.at.get(shard, 0)


def test_it_waits_for_every_shard_and_never_again() -> None:
    follower = Follower()
    gate = CatchUp(follower, lambda: 0)
    gate.expect({"gw.0": 10, "gw.1": 5})
    with pytest.raises(CatchingUp, match="15 records"):
        gate.check()
    follower.at = {"gw.0": 12, "gw.1": 4}
    with pytest.raises(CatchingUp, match="1 records"):
        gate.check()
    follower.at = {"gw.0": 12, "gw.1": 5}
    gate.check()
    follower.at = {}
    gate.check()


def test_an_empty_ledger_and_a_gate_that_was_told_nothing_are_open() -> None:
    CatchUp(Follower(), lambda: 0).check()
    gate = CatchUp(Follower(), lambda: 0)
    gate.expect({})
    gate.check()


def test_a_fold_that_gets_no_further_is_not_waited_for_but_one_that_is_slow_is() -> None:
    follower, clock = Follower(), [0]
    gate = CatchUp(follower, lambda: clock[0])
    gate.expect({"gw.0": 1000})
    for step in range(5):
        follower.at["gw.0"] = step
        with pytest.raises(CatchingUp):
            gate.check()
        clock[0] += PATIENCE_NS
    gate.check()
