"""The stages benchmark opens a worker's parts by itself, so it must follow them: it runs, and times each stage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_stage_of_a_call_is_timed() -> None:
    done = subprocess.run(
        [sys.executable, "bench/stages.py"], cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    times = {row[1].strip(): float(row[2]) for row in rows if row[2].strip()}
    assert {"decode", "decide, cached", "infer, alone", "make and encode the record", "ledger's thread"} <= times.keys()
    assert all(us > 0 for us in times.values())
