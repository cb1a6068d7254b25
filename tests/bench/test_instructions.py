"""What a governed call takes is counted in instructions, so that it cannot creep up while clocks cannot be trusted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOOP, LEDGER = 320_000, 100_000
"""Instructions a call on the loop's thread and on the ledger's: a sixth and a third above what they were in 2026."""


@pytest.mark.slow
def test_a_call_takes_no_more_instructions_than_it_did() -> None:
    if shutil.which("valgrind") is None:
        text = "valgrind is not installed: apt-get install valgrind"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
    done = subprocess.run(
        [sys.executable, "bench/instructions.py", "--bursts", "8"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    counts = {row[1].strip(): int(row[2].replace(",", "")) for row in rows}
    assert 0 < counts["the loop's"] < LOOP, done.stdout
    assert 0 < counts["the ledger's"] < LEDGER, done.stdout
