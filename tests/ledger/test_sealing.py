"""Closed segments are read-only, whole by themselves, and known to the governance ledger by the head they end with."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

from gateway.ledger import events, orders, sealing, segment
from gateway.ledger.export import leaves
from gateway.ledger.keeper import Keeper
from gateway.ledger.ledger import Payload
from gateway.ledger.reader import ShardReader
from gateway.ledger.shard import ShardLedger
from gateway.ledger.upkeep import Order
from gateway.ledger.verdict import Verdict
from gateway.ledger.verify import verify_data

from . import forgery
from .conftest import Open, a_call, clock_us, fill
from .test_proof import standalone


def modes(root: Path) -> list[int]:
    return [path.stat().st_mode & 0o777 for path in segment.files(root / "gw.0")]


def mode_of(path: Path) -> str:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        return str(db.execute("PRAGMA journal_mode").fetchone()[0])
    finally:
        db.close()


async def three_segments(open_shard: Open, **options: object) -> ShardLedger:
    ledger = await open_shard(segment_leaves=100, **options)
    for _ in range(5):
        await fill(ledger, 50)
    return ledger


async def test_what_the_writer_left_behind_becomes_read_only(root: Path, open_shard: Open) -> None:
    ledger = await three_segments(open_shard, beat_s=0.02)
    async with asyncio.timeout(60):
        while modes(root)[:-1] != [0o444] * (len(modes(root)) - 1):
            await asyncio.sleep(0.02)
    assert len(modes(root)) >= 3
    assert modes(root)[-1] & 0o200
    await ledger.close()
    for path in segment.files(root / "gw.0")[:-1]:
        assert mode_of(path) == "delete"
        assert not path.with_name(path.name + "-wal").exists()
    assert verify_data(root.parent).findings == []


async def test_a_sealed_segment_is_readable_alone_on_a_disk_that_takes_no_writes(
    root: Path, tmp_path: Path, open_shard: Open
) -> None:
    await three_segments(open_shard)
    sealed = sealing.seal_closed(root / "gw.0")
    assert len(sealed) >= 2
    assert sealing.seal_closed(root / "gw.0") == []
    (tmp_path / "alone" / "gw.0").mkdir(parents=True)
    shutil.copy(sealed[0], tmp_path / "alone" / "gw.0")
    (tmp_path / "alone" / "gw.0").chmod(0o555)
    reader = ShardReader(tmp_path / "alone", "gw.0")
    end = segment.first_seq(sealed[1])
    assert [seq for seq, _ in reader.read(0, 1000)] == list(range(end))
    reader.close()


async def test_a_segment_in_use_is_sealed_the_next_time(root: Path, open_shard: Open) -> None:
    await three_segments(open_shard)
    path = segment.files(root / "gw.0")[0]
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    db.execute("BEGIN")
    db.execute("SELECT count(*) FROM leaf").fetchone()
    assert path not in sealing.seal_closed(root / "gw.0")
    assert not sealing.is_sealed(path)
    db.close()
    assert sealing.seal_closed(root / "gw.0") == [path]


async def test_an_erasure_opens_a_sealed_segment_and_seals_it_again(root: Path, open_shard: Open) -> None:
    ledger = await open_shard(segment_leaves=100)
    for _ in range(4):
        kept = [Payload(salts=b"S" * 64, body=b"x", tenant="acme") for _ in range(60)]
        await asyncio.gather(*[ledger.append(a_call(boot=ledger.boot, payload="full"), item) for item in kept])
    assert sealing.seal_closed(root / "gw.0")
    before = verify_data(root.parent).coverage[0].root
    done = await ledger.perform(Order(id=orders.new_id(), kind="erase", actor="eva", reason="r", seqs=(5, 6)))
    assert done.records == (5, 6)
    assert modes(root)[0] == 0o444
    assert mode_of(segment.files(root / "gw.0")[0]) == "delete"
    assert verify_data(root.parent).coverage[0].root == before
    reader = ShardReader(root, "gw.0")
    assert reader.payload(5) is None
    assert reader.payload(7) is not None
    reader.close()


@pytest.fixture
async def noted(root: Path, open_shard: Open) -> Path:
    """Sealed segments of gw.0 whose seals stand in the governance ledger."""
    keeper = Keeper(root.parent, clock_us=clock_us, anchor_s=0)
    await keeper.open({"version": "test"})
    ledger = await three_segments(open_shard)
    await keeper.step()
    sealing.seal_closed(root / "gw.0")
    await fill(ledger, 10)
    await keeper.step()
    await fill(ledger, 10)
    await keeper.step()
    await ledger.close()
    await keeper.close()
    return root.parent


def seals(data: Path) -> list[events.Event]:
    found = [events.decode(leaf) for leaf in leaves(data / "governance", "gov") if b'"kind":"seal"' in leaf[:40]]
    assert all(str(sealed_head(event)[0]) == "gw.0" for event in found)
    return found


def sealed_head(event: events.Event) -> tuple[str, int]:
    lines = event.fields["heads"]
    assert isinstance(lines, tuple)
    shard, size, _ = lines[0].split(" ")
    return shard, int(size)


async def test_each_seal_is_one_event_with_the_head(noted: Path) -> None:
    paths = segment.files(noted / "ledger" / "gw.0")
    assert [event.fields["file"] for event in seals(noted)] == [path.name for path in paths[:-1]]
    assert [sealed_head(event)[1] for event in seals(noted)] == [segment.first_seq(path) for path in paths[1:]]
    assert verify_data(noted).findings == []
    assert standalone(noted)[0] == 0
    again = Keeper(noted, clock_us=clock_us, anchor_s=0)
    await again.open({"version": "test"})
    await again.step()
    await again.close()
    assert len(seals(noted)) == len(paths) - 1


async def test_a_seal_vouches_for_what_it_covers_when_all_other_heads_are_gone(noted: Path) -> None:
    shard = noted / "ledger" / "gw.0"
    for name in ("checkpoint", "checkpoints.db"):
        (shard / name).unlink()
    path = segment.files(shard)[0]
    path.chmod(0o644)
    forgery.edit(path, 7)
    findings = verify_data(noted).findings
    assert findings
    assert {finding.verdict for finding in findings} == {Verdict.EDITED}
    assert standalone(noted)[0] == 1


async def test_a_segment_that_its_successor_does_not_continue_is_an_alarm_and_no_seal(
    root: Path, open_shard: Open
) -> None:
    await three_segments(open_shard)
    following = segment.files(root / "gw.0")[1]
    forgery.execute(following, "UPDATE meta SET value = zeroblob(32) WHERE key = 'root'")
    sealing.seal_closed(root / "gw.0")
    keeper = Keeper(root.parent, clock_us=clock_us, anchor_s=0)
    await keeper.open({"version": "test"})
    await keeper.step()
    assert "does not have the root" in keeper.troubles["seals"]
    await keeper.close()
    assert seals(root.parent) == []
