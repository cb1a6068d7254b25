"""Every benchmark can be started: it imports what it measures, and says how it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
COMMANDS = sorted(path.name for path in BENCH.glob("*.py") if "\ndef main(" in path.read_text())


def test_they_are_found() -> None:
    assert {"throughput.py", "peers.py", "stages.py", "scaling.py", "ledger.py"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_it_says_how_it_is_used(name: str) -> None:
    done = subprocess.run(
        [sys.executable, BENCH / name, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {name}")
