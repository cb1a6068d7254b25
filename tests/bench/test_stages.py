"""The stages benchmark opens a worker's parts by itself, so it must follow them: it runs, times each stage, and what a
governed call costs stays a small multiple of what the same call costs ungoverned."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MULTIPLE = 12.0
"""A governed call's CPU over that of decoding, running and encoding alone; about 5 on a quiet machine. Both sides
are from one run, so a slow machine does not matter; the margin is for a busy one."""


def test_every_stage_of_a_call_is_timed() -> None:
    done = subprocess.run(
        [sys.executable, "bench/stages.py"], cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    times = {row[1].strip(): float(row[2]) for row in rows if row[2].strip()}
    assert {"decode", "decide, cached", "infer, alone", "make and encode the record", "ledger's thread"} <= times.keys()
    assert all(us > 0 for us in times.values())
    ungoverned = times["decode"] + times["infer, 16 in a turn"] + times["encode the answer"]
    governed = times["loop's thread"] + times["ledger's thread"]
    assert governed < MULTIPLE * ungoverned, f"{governed:.1f} us against {ungoverned:.1f} us: see bench/stages.py"
