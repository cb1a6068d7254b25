"""One process keeps all: heads signed, anchored in the governance ledger, keys named there."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.ledger import anchor, events
from gateway.ledger.errors import LedgerLocked
from gateway.ledger.export import leaves
from gateway.ledger.keeper import Keeper
from gateway.ledger.verify import verify_data

from .conftest import Open, clock_us, fill


async def test_heads_of_all_shards_are_anchored(root: Path, open_shard: Open) -> None:
    one, two = await open_shard("gw.0"), await open_shard("gw.1")
    keeper = Keeper(root.parent, clock_us=clock_us, anchor_s=0)
    await keeper.open({"version": "test"})
    await fill(one, 40)
    await fill(two, 7)
    await keeper.step()
    await fill(two, 3)
    await keeper.step()
    await keeper.step()
    await keeper.close()
    await keeper.close()
    stored = list(leaves(root.parent / "governance", "gov"))
    kinds = [events.decode(leaf).kind for leaf in stored]
    assert kinds == ["boot", "key", "key", "anchor", "key", "anchor", "anchor", "shutdown"]
    anchors = [found[1] for leaf in stored if (found := anchor.read(leaf))]
    assert [(a["gw.0"][0], a["gw.1"][0]) for a in anchors] == [(41, 8), (41, 11), (41, 11)]
    report = verify_data(root.parent)
    assert report.findings == []
    assert {item.shard: item.head for item in report.coverage} == {"gw.0": 41, "gw.1": 11, "gov": len(stored)}


async def test_events_of_others_are_kept_and_the_lock_is_one(root: Path) -> None:
    keeper = Keeper(root.parent, clock_us=clock_us)
    await keeper.open({"version": "test"})
    await keeper.event("policy_loaded", actor="eva", reason="release", fields={"revision": "r1", "digest": "ab"})
    with pytest.raises(LedgerLocked):
        await Keeper(root.parent, clock_us=clock_us).open({})
    await keeper.close()
    event = events.decode(list(leaves(root.parent / "governance", "gov"))[1])
    assert (event.kind, event.actor, event.reason, event.fields["revision"]) == (
        "policy_loaded",
        "eva",
        "release",
        "r1",
    )
    again = Keeper(root.parent, clock_us=clock_us)
    await again.open({"version": "test"})
    await again.close()
    assert verify_data(root.parent).findings == []


async def test_a_shard_that_does_not_fit_is_an_alarm_and_stops_no_other(root: Path, open_shard: Open) -> None:
    good, bad = await open_shard("gw.0"), await open_shard("gw.1")
    await fill(bad, 10)
    keeper = Keeper(root.parent, clock_us=clock_us, anchor_s=0)
    await keeper.open({})
    await keeper.step()
    await bad.close()
    path = next((root / "gw.1").glob("*.db"))
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 3 // 16384 * 16384])
    await fill(good, 10)
    await keeper.close()
    keeper = Keeper(root.parent, clock_us=clock_us, anchor_s=0)
    await keeper.open({})
    await keeper.step()
    assert set(keeper.alarms) == {"gw.1"}
    await keeper.close()
    assert {finding.shard for finding in verify_data(root.parent).findings} == {"gw.1"}
