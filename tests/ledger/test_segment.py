"""One segment: few statements a commit, settings that hold, creation that is whole or not at all."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from gateway.ledger import merkle, readonly, segment
from gateway.ledger.reader import ShardReader
from gateway.ledger.sealed import Block, Sealed
from gateway.ledger.segment import Segment
from gateway.ledger.tree import Tile
from gateway.ledger.verify import verify

from .conftest import Open, fill


@pytest.fixture
def live(tmp_path: Path) -> Segment:
    (tmp_path / "gw.0").mkdir()
    made = Segment.open(segment.create(tmp_path / "gw.0", "gw.0", 0, merkle.EMPTY), "gw.0")
    yield made
    made.close()


def test_a_batch_is_one_statement_however_large(live: Segment) -> None:
    """One hand-over of the interpreter lock: one per table, or per row, would starve under a busy event loop."""
    seen: list[str] = []
    own = Sealed(1, b"dek", None, None, b"body")
    block = Block(0, bytes(512), 1, b"dek", None, b"salts")
    live._db.set_trace_callback(seen.append)
    live.commit(0, [b"leaf"] * 256, [(seq, own) for seq in range(256)], [block], [Tile(0, 0, b"hashes")])
    live._db.set_trace_callback(None)
    assert [text[:17] for text in set(seen)] == ["INSERT INTO batch"]  # told again for each act of its trigger
    assert live.end() == 256
    assert not live._db.in_transaction


def test_durability_does_not_rest_on_defaults(live: Segment) -> None:
    asked = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "wal_autocheckpoint": 0, "page_size": 8_192}
    assert {name: live._db.execute(f"PRAGMA {name}").fetchone()[0] for name in asked} == asked


def test_a_failed_batch_leaves_nothing(live: Segment) -> None:
    block = Block(0, bytes(2), 1, b"dek", None, b"salts")
    live.commit(0, [b"a"], [], [block], [])
    with pytest.raises(sqlite3.IntegrityError):
        live.commit(1, [b"b"], [], [block], [])
    assert live.end() == 1
    live.commit(1, [b"b"], [], [], [])


def test_a_reader_cannot_write(live: Segment) -> None:
    live.commit(0, [b"a"], [], [], [])
    db = readonly.connect(live.path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM leaf")
    db.close()


async def test_a_draft_left_by_a_crash_is_no_segment(root: Path, open_shard: Open) -> None:
    (root / "gw.0").mkdir(parents=True)
    (root / "gw.0" / "000000000000.db.new").write_bytes(b"half a file")
    ledger = await open_shard()
    await fill(ledger, 3)
    assert [path.name for path in segment.files(root / "gw.0")] == ["000000000000.db"]
    assert not list((root / "gw.0").glob("*.new"))


async def test_a_reader_holds_no_transaction_between_reads(root: Path, open_shard: Open) -> None:
    """One that did would keep the log from ever being moved into its file."""
    ledger = await open_shard()
    await fill(ledger, 200)
    reader = ShardReader(root, "gw.0")
    assert len(reader.read(0, 10)) == 10
    await ledger.close()
    assert (root / "gw.0" / "000000000000.db-wal").stat().st_size == 0
    assert reader.size() == 202
    reader.close()


async def test_a_shard_whose_newest_segment_has_other_pages_goes_on(root: Path, open_shard: Open) -> None:
    """Those of older versions have 16 KiB."""
    ledger = await open_shard(segment_leaves=500)
    await fill(ledger, 300)
    await ledger.close()
    db = sqlite3.connect(segment.files(root / "gw.0")[0])
    for sql in ("PRAGMA journal_mode=DELETE", "PRAGMA page_size=16384", "VACUUM"):
        db.execute(sql)
    db.close()
    again = await open_shard(segment_leaves=500)
    await fill(again, 300)
    await again.close()
    sizes = []
    for path in segment.files(root / "gw.0"):
        db = sqlite3.connect(path)
        sizes.append(db.execute("PRAGMA page_size").fetchone()[0])
        db.close()
    assert sizes == [16_384, segment.PAGE]
    assert verify(root).findings == []


@pytest.mark.slow
async def test_a_million_records_verify_within_thirty_seconds(root: Path, open_shard: Open) -> None:
    """By the record, on a tenth of them; ``bench/ledger.py`` prints the figure."""
    ledger = await open_shard()
    await fill(ledger, 100_000, model="m" * 200, policy_sha="a" * 64, model_sha="b" * 64, in_c="c" * 64)
    await ledger.close()
    started = time.process_time()
    report = verify(root)
    took = time.process_time() - started
    assert report.ok
    assert took * 10 < 30
