"""A folder that is named like the package, where the gateway is started, is not the gateway."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from running import ROOT, clean

GATEWAY = Path(sys.executable).with_name("gateway")


def test_a_folder_called_gateway_where_it_is_started_is_never_run(tmp_path: Path) -> None:
    stranger = tmp_path / "gateway"
    stranger.mkdir()
    (stranger / "__init__.py").write_text("raise SystemExit('a stranger was run')")
    process = subprocess.Popen(
        [
            str(GATEWAY), "serve", "--models", str(ROOT / "examples/models"), "--policies", str(ROOT / "policies"),
            "--data", str(tmp_path / "data"), "--port", "0", "--admin-port", "0",
        ],
        cwd=tmp_path, env=clean(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    said = process.stdout.readline()
    process.terminate()
    errors = process.communicate(timeout=60)[1]
    assert said.startswith("gateway ready on "), errors
    assert "stranger" not in errors
    assert process.returncode == 0
