"""A real Prometheus on a free port, for what it makes of a scrape."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

HOW = "apt-get install prometheus (Debian) brings prometheus and promtool"


class Prometheus:
    """A real server that scrapes one target five times a second, with the rules in ``rules`` evaluated as often as
    they say."""

    def __init__(self, program: str, folder: Path, target: int, *, rules: Sequence[Path] = ()) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = folder / "prometheus.yml"
        config.write_text(
            "scrape_configs: [{job_name: gateway, scrape_interval: 200ms, scrape_timeout: 200ms, "
            f"static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
            f"rule_files: {json.dumps([str(path) for path in rules])}\n"
        )
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--enable-feature=exemplar-storage",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def get(self, path: str) -> list[dict[str, Any]]:
        with urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=5) as answer:
            data = json.load(answer)["data"]
        return list(data["result"] if isinstance(data, dict) else data)

    def until(self, path: str, seconds: float = 20.0) -> list[dict[str, Any]]:
        """The first answer that is not empty."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            try:
                if found := self.get(path):
                    return found
            except OSError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"nothing came for {path}")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()
