"""Files are readable whatever their writer was doing when it died; reading them repairs nothing on disk."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gateway.ledger import readonly, segment
from gateway.ledger.reader import ShardReader
from gateway.ledger.verify import verify, verify_data

from .conftest import Open, fill

DYING = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    db.execute(statement).fetchall()
os._exit(1)
"""
ERASING = ("PRAGMA journal_mode=DELETE", "PRAGMA cache_size=1", "BEGIN", "UPDATE leaf SET leaf = randomblob(900)")
"""A change whose first pages have reached the file, which is more than an erasure would touch."""


def die_inside(path: Path, *statements: str) -> Path:
    """A process that changes ``path`` and ends without closing it; returns where a journal is, if it left one."""
    subprocess.run([sys.executable, "-c", DYING, str(path), *statements], check=False, timeout=60)
    return path.with_name(f"{path.name}-journal")


@pytest.fixture
async def crashed(root: Path, open_shard: Open) -> Path:
    """Data with two segments, the first with a half-done change in it."""
    ledger = await open_shard(segment_leaves=400)
    await fill(ledger, 500)
    await ledger.close()
    assert die_inside(segment.files(root / "gw.0")[0], *ERASING).stat().st_size > 0
    return root.parent


async def test_what_a_crash_left_half_done_is_undone_in_a_copy(crashed: Path) -> None:
    before = {path: path.read_bytes() for path in crashed.rglob("*") if path.is_file()}
    assert verify_data(crashed).findings == []
    assert before == {path: path.read_bytes() for path in before}


async def test_the_shard_goes_on_behind_it(crashed: Path, open_shard: Open) -> None:
    ledger = await open_shard(segment_leaves=400)
    await fill(ledger, 10)
    await ledger.close()
    assert verify(crashed / "ledger").findings == []


async def test_a_copy_stays_readable_as_long_as_it_is_open(crashed: Path) -> None:
    with closing(ShardReader(crashed / "ledger", "gw.0")) as reader:
        first, again = reader.read(0, 10), reader.read(0, 10)
    assert first == again
    assert len(first) == 10


async def test_a_reader_that_saw_a_crash_sees_what_the_writer_appends_when_it_lives_again(
    root: Path, open_shard: Open
) -> None:
    """A follower keeps its reader for as long as the gateway runs."""
    ledger = await open_shard()
    await fill(ledger, 50)
    await ledger.close()
    assert die_inside(segment.files(root / "gw.0")[-1], *ERASING).stat().st_size > 0
    with closing(ShardReader(root, "gw.0")) as reader:
        assert reader.size() == 52
        again = await open_shard()
        await fill(again, 10)
        assert reader.size() == 63
        assert len(reader.read(50)) == 13


async def test_nothing_can_be_written_through_it(crashed: Path) -> None:
    for path in segment.files(crashed / "ledger" / "gw.0"):
        with closing(readonly.connect(path)) as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
            db.execute("DELETE FROM leaf")


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        readonly.connect(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []
