"""A shard on disk over its life: restarts, segments, beats, faults while committing."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

from gateway.errors import LedgerUnavailable
from gateway.ledger import events, export, merkle, segment
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.shard import ShardLedger
from gateway.ledger.verify import verify

from .conftest import Open, a_call, clock_us, fill
from .test_merkle import defined_root


def leaves(root: Path, shard: str = "gw.0") -> list[bytes]:
    reader = ShardReader(root, shard)
    try:
        return [leaf for _, leaf in reader.read(0, 1_000_000)]
    finally:
        reader.close()


def kinds(root: Path) -> list[str]:
    return [str(export.row(leaf)["kind"]) for leaf in leaves(root)]


async def test_a_restart_goes_on_where_the_shard_ended(root: Path, open_shard: Open) -> None:
    first = await open_shard()
    await fill(first, 700)
    await first.close()
    second = await open_shard()
    stored = leaves(root)
    boot = events.decode(stored[702])
    assert boot.kind == "boot"
    assert boot.fields["size"] == 702
    assert boot.fields["root"] == defined_root([merkle.leaf_hash(leaf) for leaf in stored[:702]]).hex()
    assert boot.boot == second.boot != first.boot
    assert (await second.append(a_call())).seq == 703
    assert shards(root) == ["gw.0"]


@pytest.mark.parametrize("size", [0, 1, 254, 255, 256, 257, 1000])
async def test_segments_abut_and_the_tree_spans_them(root: Path, open_shard: Open, size: int) -> None:
    ledger = await open_shard(segment_leaves=100)
    await fill(ledger, size)
    await ledger.close()
    again = await open_shard(segment_leaves=100)
    await fill(again, 10)
    await again.close()
    firsts = [segment.first_seq(path) for path in segment.files(root / "gw.0")]
    assert firsts[0] == 0
    assert len(firsts) == 1 or size > 90
    report = verify(root)
    assert report.findings == []
    assert report.coverage[0].leaves == size + 14
    assert report.coverage[0].calls == size + 10


async def test_a_large_segment_is_followed_by_another(root: Path, open_shard: Open) -> None:
    ledger = await open_shard(segment_bytes=100_000)
    await fill(ledger, 3_000)
    assert len(segment.files(root / "gw.0")) > 3
    assert verify(root).ok


async def test_a_reader_sees_every_leaf_across_segments_while_the_writer_lives(root: Path, open_shard: Open) -> None:
    ledger = await open_shard(segment_leaves=64)
    reader, seen = ShardReader(root, "gw.0"), []
    for _ in range(10):
        await fill(ledger, 50)
        while batch := reader.read(len(seen), 33):
            seen += batch
    reader.close()
    assert [seq for seq, _ in seen] == list(range(501))


async def test_beats_come_with_the_counters_and_the_commit_times(root: Path, open_shard: Open) -> None:
    ledger = await open_shard(beat_s=0.01, counters=lambda: {"started": 3, "inflight": 0, "shed": 0, "unrecorded": 0})
    await asyncio.gather(*[ledger.append(a_call(boot=ledger.boot)) for _ in range(3)])
    for _ in range(1000):
        if kinds(root).count("beat") >= 2:
            break
        await asyncio.sleep(0.01)
    await ledger.close()
    tallies = [events.decode(leaf) for leaf in leaves(root) if b'"kind":"beat"' in leaf or b'"kind":"shutdown"' in leaf]
    assert len(tallies) >= 3
    assert {tally.fields["started"] for tally in tallies} == {3}
    measured = [tally.fields for tally in tallies if "commits" in tally.fields]
    assert 4 <= sum(int(str(fields["committed"])) for fields in measured) < len(leaves(root))
    assert all(0 < int(str(f["commit_p50_us"])) <= int(str(f["commit_max_us"])) for f in measured)
    assert verify(root).ok


async def test_a_beat_comes_every_ten_thousand_leaves(root: Path, open_shard: Open) -> None:
    ledger = await open_shard()
    await fill(ledger, 25_000)
    await ledger.close()
    assert kinds(root).count("beat") == 2


async def test_two_writers_are_refused_by_name(open_shard: Open) -> None:
    ledger = await open_shard()
    with pytest.raises(Exception, match=r"in use by another gateway \(process \d+\)") as caught:
        await open_shard()
    assert type(caught.value).__name__ == "LedgerLocked"
    await ledger.append(a_call())


def _fill_disk(ledger: ShardLedger, on: bool) -> None:
    """Make SQLite answer "database or disk is full" for the live segment."""
    live = ledger._writer._store._segment
    assert live is not None
    live._db.execute(f"PRAGMA max_page_count={1 if on else 1 << 30}")


async def test_a_failed_commit_fails_all_who_wait_and_the_shard_goes_on_behind(root: Path, open_shard: Open) -> None:
    ledger = await open_shard()
    await fill(ledger, 300)
    _fill_disk(ledger, True)
    waiting = [ledger.append(a_call(model="lost", cred="c" * 200)) for _ in range(100)]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, LedgerUnavailable) for result in results)
    for _ in range(200):
        if not ledger.fault:
            break
        await asyncio.sleep(0.01)
    receipt = await ledger.append(a_call(model="after", boot=ledger.boot))
    await ledger.close()
    stored = leaves(root)
    recover = events.decode(stored[301])
    assert recover.kind == "recover"
    assert recover.fields == {"expected": 301, "unrecorded": 100}
    assert receipt.seq == 302
    assert not any(b'"lost"' in leaf for leaf in stored)
    assert [segment.first_seq(path) for path in segment.files(root / "gw.0")] == [0, 301]
    assert verify(root).findings == []
    assert not ledger.broken.done()


async def test_append_refuses_while_the_disk_is_looked_at(open_shard: Open) -> None:
    ledger = await open_shard()
    _fill_disk(ledger, True)
    with pytest.raises(LedgerUnavailable, match="could not be made durable"):
        await asyncio.gather(*[ledger.append(a_call(cred="c" * 250)) for _ in range(200)])
    with pytest.raises(LedgerUnavailable, match=r"cannot write \(database or disk is full\)"):
        ledger.append(a_call())


async def test_three_failures_within_a_minute_end_the_shard(open_shard: Open) -> None:
    ledger = await open_shard()
    for _ in range(3):
        while ledger.fault:
            await asyncio.sleep(0.005)
        _fill_disk(ledger, True)
        with pytest.raises(LedgerUnavailable):
            await asyncio.gather(*[ledger.append(a_call(cred="c" * 250)) for _ in range(200)])
    error = await asyncio.wait_for(ledger.broken, 5)
    assert "3 failed commits within a minute" in str(error)
    with pytest.raises(LedgerUnavailable, match="gave up"):
        ledger.append(a_call())
    await ledger.close()


async def test_a_writer_whose_loop_is_gone_still_leaves_whole_batches(root: Path) -> None:
    def run() -> None:
        async def main() -> None:
            ledger = await ShardLedger.open(root, "gw.0", boot={}, clock_us=clock_us)
            for _ in range(50):
                ledger.append(a_call())

        asyncio.run(main())  # never closed: as a crash would

    await asyncio.to_thread(run)
    report = verify(root)
    assert report.ok
    assert 1 <= report.coverage[0].leaves <= 51


async def test_a_corrupt_segment_is_named_and_not_repaired(root: Path, open_shard: Open) -> None:
    ledger = await open_shard()
    await fill(ledger, 2_000)
    await ledger.close()
    path = segment.files(root / "gw.0")[0]
    raw = bytearray(path.read_bytes())
    raw[segment.PAGE * 18 : segment.PAGE * 20] = b"\xaa" * segment.PAGE * 2
    path.write_bytes(raw)
    with pytest.raises(Exception, match="damaged") as caught:
        await open_shard()
    assert type(caught.value).__name__ == "LedgerCorrupt"
    assert path.read_bytes() == bytes(raw)


async def test_a_newer_schema_is_refused(root: Path, open_shard: Open) -> None:
    ledger = await open_shard()
    await ledger.close()
    db = sqlite3.connect(segment.files(root / "gw.0")[0])
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(Exception, match="schema 99, this software knows 1") as caught:
        await open_shard()
    assert type(caught.value).__name__ == "LedgerNewer"
    assert verify(root).exit_status == 2


async def test_a_segment_of_another_shard_is_refused(root: Path, open_shard: Open) -> None:
    ledger = await open_shard("gw.0")
    await ledger.close()
    (root / "gw.0").rename(root / "gw.1")
    with pytest.raises(Exception, match="files were moved"):
        await open_shard("gw.1")


async def test_no_segment_at_all_but_a_file_is_one_clear_sentence(root: Path, open_shard: Open) -> None:
    root.parent.mkdir(parents=True)
    root.write_text("a file")
    with pytest.raises(Exception, match="cannot be written") as caught:
        await open_shard()
    assert type(caught.value).__name__ == "LedgerUnwritable"


async def test_garbage_in_place_of_a_segment_is_corrupt(root: Path, open_shard: Open) -> None:
    (root / "gw.0").mkdir(parents=True)
    (root / "gw.0" / "000000000000.db").write_bytes(b"not a database at all" * 1000)
    with pytest.raises(Exception, match="not a readable segment") as caught:
        await open_shard()
    assert type(caught.value).__name__ == "LedgerCorrupt"


async def test_the_tail_of_a_wal_that_a_power_loss_tore_is_dropped_whole(root: Path, tmp_path: Path) -> None:
    """Copy the live files, cut the WAL at any byte: what opens is a prefix, and the shard goes on behind it."""
    ledger = await ShardLedger.open(root, "gw.0", boot={}, clock_us=clock_us, beat_s=3600)
    for _ in range(12):
        await fill(ledger, 20)
    live = {path.name: path.read_bytes() for path in (root / "gw.0").iterdir() if path.name != "lock"}
    await ledger.close()
    wal = live["000000000000.db-wal"]
    for cut in range(0, len(wal), 41_000):
        copy = tmp_path / f"cut-{cut}" / "ledger"
        (copy / "gw.0").mkdir(parents=True)
        shutil.copytree(root.parent / "keys", copy.parent / "keys")
        (copy / "gw.0" / "000000000000.db").write_bytes(live["000000000000.db"])
        (copy / "gw.0" / "000000000000.db-wal").write_bytes(wal[:cut])
        again = await ShardLedger.open(copy, "gw.0", boot={}, clock_us=clock_us, beat_s=3600)
        await again.close()
        report = verify(copy)
        assert report.findings == []
        assert report.coverage[0].leaves <= 12 * 20 + 1 + 2
