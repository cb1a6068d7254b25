"""Some thousand coverage-guided runs of ``fuzz_wire.py``, from its seeds; more: run that program itself."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RUNS = 5_000


def test_no_bytes_get_past_the_framing_and_the_codec_unjudged(tmp_path: Path):
    if importlib.util.find_spec("atheris") is None:
        assert os.environ.get("CI") != "true", "atheris is missing"
        pytest.skip("atheris is not installed: it has wheels for Linux on x86-64 and Python 3.11 to 3.13")
    shutil.copytree(HERE / "fuzz_seeds", tmp_path / "seeds")
    options = [f"-runs={RUNS}", "-seed=1", "-max_len=2048", "-rss_limit_mb=1024", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(
        [sys.executable, str(HERE / "fuzz_wire.py"), *options, str(tmp_path / "seeds")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=HERE.parents[1],
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"Done {RUNS} runs" in done.stderr
