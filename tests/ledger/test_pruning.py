"""Records go after their time, whole segments at once; their hashes stay, and the ledger verifies."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.ledger import events, orders, proof, record, segment
from gateway.ledger.errors import LedgerError
from gateway.ledger.export import leaves
from gateway.ledger.keeper import Keeper
from gateway.ledger.logkeys import Keyring, LogKeys
from gateway.ledger.notary import Notary
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
    orders.place(root / "gw.0", order("prune", before_us=clock_us()))
    await ledger.carry_out()
    end = max(first for path in segment.files(root / "gw.0") if (first := segment.first_seq(path)) <= 256)
    assert end > 100
    assert _recorded(root) == [f"0-{end - 1}"]  # what full tiles cover
    await fill(ledger, 600)
    await keeper.step()
    await ledger.close()
    await keeper.close()
    report = verify_data(root.parent)
    assert report.findings == []
    assert standalone(root.parent)[0] == 0
    assert report.coverage[0].leaves == 1_053
    assert report.coverage[0].checked == 1_053 - end
    assert proof.check(receipt, Keyring(root / "keyring").for_head("gateway-ledger/gw.0", 451))
    assert sum(path.stat().st_size for path in (root / "gw.0").glob("0*.db")) < size * 3
    with pytest.raises(LedgerError):
        proof.prove(root, "gw.0", 90)
    again = await open_shard()
    await fill(again, 3)


def _recorded(root: Path) -> list[str]:
    """The ranges that records of prunings name."""
    found = [events.decode(leaf) for leaf in leaves(root, "gw.0") if b'"kind":"erase"' in leaf[:40]]
    return [text for event in found for text in event.fields["records"]]  # type: ignore[union-attr]


async def test_a_crash_between_pruning_and_its_record_is_made_good(root: Path, open_shard: Open) -> None:
    """The order is still there, so it is carried out again, and recorded."""
    ledger = await open_shard(segment_leaves=100)
    for _ in range(9):
        await fill(ledger, 50)
    given = order("prune", before_us=clock_us())
    done = await ledger.perform(given)
    await ledger.close()
    assert [(f.verdict.value, f.first) for f in verify_data(root.parent).findings][:1] == [("MISSING", 0)]
    path = orders.place(root / "gw.0", given)
    assert [f.verdict.value for f in verify_data(root.parent).findings][:1] == ["CANNOT"]  # not done, not forged
    again = await open_shard(segment_leaves=100)
    await again.carry_out()
    assert (await again.perform(order("prune", before_us=clock_us()))).records[: len(done.records)] != done.records
    await again.close()
    assert _recorded(root) == [f"0-{done.records[-1]}"]
    assert not path.exists()
    assert verify_data(root.parent).errors == []


async def test_records_that_were_deleted_as_if_they_had_been_pruned_are_missing(root: Path, open_shard: Open) -> None:
    ledger = await open_shard(segment_leaves=100)
    for _ in range(9):
        await fill(ledger, 50)
    await ledger.close()
    path, following = segment.files(root / "gw.0")[:2]
    path.chmod(0o644)
    forgery.execute(path, "DELETE FROM leaf", "INSERT INTO meta VALUES ('pruned', 1)")
    last = segment.first_seq(following) - 1
    report = verify_data(root.parent)
    assert [(f.verdict.value, f.first, f.last) for f in report.findings] == [("MISSING", 0, last)]


async def test_young_live_and_held_segments_are_not_pruned(root: Path, open_shard: Open) -> None:
    ledger = await open_shard(segment_leaves=100)
    for _ in range(9):
        await fill(ledger, 50, model="credit")
    assert (await ledger.perform(order("prune", before_us=START_US))).records == ()
    held = await ledger.perform(order("prune", before_us=clock_us(), held=("credit",)))
    assert held.records == ()
    assert len(held.kept) >= 100
    assert len([leaf for leaf in leaves(root, "gw.0") if record.decode(leaf).kind == "call"]) == 450


async def test_a_promise_that_was_pruned_since_is_held_to_its_tiles(root: Path, open_shard: Open) -> None:
    """A head that was anchored long ago, and an older copy of the table of heads, still bind the notary."""
    ledger = await open_shard(segment_leaves=300)
    await fill(ledger, 150)
    one = Notary(root, LogKeys(root.parent / "keys" / "log"), clock_us=clock_us)
    one.open()
    one.step()
    one.anchor()
    for _ in range(26):
        await fill(ledger, 50)
    one.step()
    one.close()
    orders.place(root / "gw.0", order("prune", before_us=clock_us()))
    await ledger.carry_out()
    other = Notary(root, LogKeys(root.parent / "keys" / "log"), clock_us=clock_us)
    other.open()
    other.step()
    assert other.alarms == {}
    assert set(other.anchor()) == {"gw.0"}
    other.close()
    await ledger.close()


async def test_a_pruned_segment_hides_no_missing_record(root: Path, open_shard: Open) -> None:
    ledger = await open_shard(segment_leaves=100)
    for _ in range(9):
        await fill(ledger, 50)
    orders.place(root / "gw.0", order("prune", before_us=clock_us()))
    await ledger.carry_out()
    await ledger.close()
    assert verify_data(root.parent).ok
    live = segment.files(root / "gw.0")[-1]
    first = segment.first_seq(live)
    forgery.execute(live, f"DELETE FROM leaf WHERE seq = {first}")
    assert [(f.verdict.value, f.first, f.last) for f in verify_data(root.parent).findings] == [
        ("MISSING", first, first)
    ]
