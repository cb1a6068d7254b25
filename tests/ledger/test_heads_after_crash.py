"""Heads are readable whatever their writer was doing when it died; reading repairs nothing on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gateway.ledger import heads

DYING = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size=1")
db.execute("PRAGMA cache_spill=1")
db.execute("BEGIN IMMEDIATE")
for number in range(2000):
    db.execute("INSERT INTO head VALUES (?, 0, ?)", (number, "x" * 500))
os._exit(1)
"""


def opened(directory: Path) -> Path:
    """A fresh table of heads."""
    made = heads.Heads(directory)
    assert made.open() == []
    made.close()
    return directory / heads.TABLE


def test_a_table_is_whole_from_its_first_moment(tmp_path: Path) -> None:
    opened(tmp_path)
    opened(tmp_path)  # again: what is there stays
    assert [path.name for path in tmp_path.iterdir()] == [heads.TABLE]
    assert heads.anchored(tmp_path) == []
    assert heads.tail(tmp_path) is None


def test_a_journal_that_a_crash_left_is_undone_in_a_copy(tmp_path: Path) -> None:
    path = opened(tmp_path)
    subprocess.run([sys.executable, "-c", DYING, str(path)], check=False, timeout=60)
    journal = path.with_name(f"{path.name}-journal")
    before = (path.read_bytes(), journal.read_bytes())
    assert len(before[0]) > 100_000, "the transaction must have reached the file"
    assert heads.anchored(tmp_path) == []
    assert (path.read_bytes(), journal.read_bytes()) == before
    opened(tmp_path)  # a writer undoes it for good
    assert not journal.exists()
    assert heads.anchored(tmp_path) == []
