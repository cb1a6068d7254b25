"""The benchmark's reading of h2load: a run that lost one answer is no result."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

LOAD = Path(__file__).resolve().parents[2] / "bench" / "load.py"
OUTPUT = """
finished in 2.21s, 2714.93 req/s, 437.98KB/s
requests: 6000 total, 6000 started, 6000 done, 6000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 6000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 967.92KB (991146) total, 80.22KB (82146) headers (space savings 88.59%), 667.97KB (684000) data
"""


@pytest.fixture(scope="module")
def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_load", LOAD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_text("".join(f"17639\t200\t{us}\n" for us in range(1, 101)))
    return path


def test_it_reads_counts_sizes_and_percentiles(load: ModuleType, log: Path) -> None:
    found = load.parse(OUTPUT, log)
    assert (found.requests, found.seconds, found.data_bytes) == (6000, 2.21, 684_000)
    assert (found.p50_us, found.p99_us) == (50.5, pytest.approx(99.01))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("6000 succeeded, 0 failed", "5999 succeeded, 1 failed"),
        ("6000 done", "5999 done"),
        ("finished in", "ended in"),
        ("(684000) data", "data"),
    ],
)
def test_it_refuses_a_run_that_is_not_whole(load: ModuleType, log: Path, old: str, new: str) -> None:
    with pytest.raises(load.LoadFailed):
        load.parse(OUTPUT.replace(old, new), log)


def test_milliseconds_and_minutes_are_read(load: ModuleType, log: Path) -> None:
    assert load.parse(OUTPUT.replace("2.21s", "367.59ms"), log).seconds == pytest.approx(0.36759)
    assert load.parse(OUTPUT.replace("2.21s", "1.5m"), log).seconds == 90
