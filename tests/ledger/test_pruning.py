"""Records go after their time, whole segments at once; their hashes stay, and the ledger verifies."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.ledger import proof, record, segment
from gateway.ledger.errors import LedgerError
from gateway.ledger.export import leaves
from gateway.ledger.keeper import Keeper
from gateway.ledger.logkeys import Keyring
from gateway.ledger.verify import verify_data

from . import forgery
from .conftest import START_US, Open, clock_us, fill
from .test_privacy import order
from .test_proof import standalone


async def test_pruned_records_leave_their_hashes(root: Path, open_shard: Open) -> None:
    keeper = Keeper(root.parent, clock_us=clock_us, anchor_s=0)
    await keeper.open({})
    ledger = await open_shard(segment_leaves=100)
    for _ in range(9):
        await fill(ledger, 50)
    await keeper.step()
    receipt = proof.prove(root, "gw.0", 90)
    size = sum(path.stat().st_size for path in (root / "gw.0").glob("0*.db"))
    done = await ledger.perform(order("prune", before_us=clock_us()))
    end = max(first for path in segment.files(root / "gw.0") if (first := segment.first_seq(path)) <= 256)
    assert end > 100
    assert done.records == tuple(range(end))  # what full tiles cover
    await fill(ledger, 600)
    await keeper.step()
    await ledger.close()
    await keeper.close()
    report = verify_data(root.parent)
    assert report.findings == []
    assert standalone(root.parent)[0] == 0
    assert report.coverage[0].leaves == 1_052
    assert report.coverage[0].checked == 1_052 - end
    assert proof.check(receipt, Keyring(root / "keyring").for_head("gateway-ledger/gw.0", 451))
    assert sum(path.stat().st_size for path in (root / "gw.0").glob("0*.db")) < size * 3
    with pytest.raises(LedgerError):
        proof.prove(root, "gw.0", 90)
    again = await open_shard()
    await fill(again, 3)


async def test_young_live_and_held_segments_are_not_pruned(root: Path, open_shard: Open) -> None:
    ledger = await open_shard(segment_leaves=100)
    for _ in range(9):
        await fill(ledger, 50, model="credit")
    assert (await ledger.perform(order("prune", before_us=START_US))).records == ()
    held = await ledger.perform(order("prune", before_us=clock_us(), held=("credit",)))
    assert held.records == ()
    assert len(held.kept) >= 100
    assert len([leaf for leaf in leaves(root, "gw.0") if record.decode(leaf).kind == "call"]) == 450


async def test_a_pruned_segment_hides_no_missing_record(root: Path, open_shard: Open) -> None:
    ledger = await open_shard(segment_leaves=100)
    for _ in range(9):
        await fill(ledger, 50)
    assert (await ledger.perform(order("prune", before_us=clock_us()))).records
    await ledger.close()
    assert verify_data(root.parent).ok
    live = segment.files(root / "gw.0")[-1]
    first = segment.first_seq(live)
    forgery.execute(live, f"DELETE FROM leaf WHERE seq = {first}")
    assert [(f.verdict.value, f.first, f.last) for f in verify_data(root.parent).findings] == [
        ("MISSING", first, first)
    ]
