"""Scrapes without a pause while policies, models and configuration are reloaded and the observer is killed: each is
whole, and no counter of the ledger ever falls."""

from __future__ import annotations

import http.client
import re
import shutil
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
from running import ROOT, Running, start

pytestmark = pytest.mark.slow

SAMPLE = re.compile(r"^(\w+_(?:total|count|bucket|sum)(?:\{.*\})?) (\S+)(?: # .*)?$")
SINCE_START = ("gateway_telemetry_", "gateway_traces_")


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    shutil.copytree(ROOT / "examples" / "models", tmp_path / "models")
    running = start(tmp_path / "data", models=tmp_path / "models", policies=tmp_path / "policies")
    yield running
    running.stop()


class Scraper:
    """Scrapes as fast as it can; ``faults`` says what no scrape may show."""

    def __init__(self, gateway: Running) -> None:
        self.scrapes = 0
        self.refused = 0
        self.faults: list[str] = []
        self.text = ""
        self._seen: dict[str, float] = {}
        self._gateway = gateway
        self._port = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            try:
                status, text = self._get()
            except (OSError, AssertionError, StopIteration, http.client.HTTPException, psutil.Error):
                self.refused += 1  # killed, or not yet back
                self._port = 0
                continue
            if status == 200:
                self._look(text)
            elif status != 503:
                self.faults.append(f"status {status}")

    def _get(self) -> tuple[int, str]:
        self._port = self._port or self._gateway.admin_port()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def _look(self, text: str) -> None:
        self.scrapes += 1
        self.text = text
        if not text.endswith("# EOF\n"):
            self.faults.append(f"cut short: {text[-80:]!r}")
        found = {match[1]: float(match[2]) for line in text.splitlines() if (match := SAMPLE.match(line))}
        for name, value in self._seen.items():
            if not name.startswith(SINCE_START) and found.get(name, 0) < value:
                self.faults.append(f"{name} fell from {value} to {found.get(name)}")
        self._seen = found


class Caller:
    """Calls without a pause; counts what was answered."""

    def __init__(self, gateway: Running) -> None:
        self.answered = 0
        self._key = gateway.key("screening-app", "clinic")
        self._url = gateway.url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        rows = triton.InferInput("measurements", [1, 10], "FP32")
        rows.set_data_from_numpy(np.zeros((1, 10), np.float32))
        with triton.InferenceServerClient(self._url) as client:
            while not self._stop.wait(0.005):
                client.infer("diabetes", [rows], headers={"x-api-key": self._key})
                self.answered += 1


def counted(text: str) -> int:
    """The clinic's answered calls, of all versions."""
    return sum(
        map(int, re.findall(r'gateway_requests_total{.*tenant="clinic",decision="allow",code="OK"} (\d+)', text))
    )


def until(scraper: Scraper, there: Callable[[str], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not there(scraper.text):
        assert time.monotonic() < end, f"never came; faults {scraper.faults}:\n{scraper.text}"
        time.sleep(0.05)


def test_every_scrape_is_whole_and_no_counter_falls(gateway: Running, tmp_path: Path) -> None:
    caller, scraper = Caller(gateway), Scraper(gateway)
    try:
        until(scraper, lambda text: 'gateway_model_loaded{model="diabetes",version="1"' in text)
        rules = next(path for path in (tmp_path / "policies").rglob("*.rego") if not path.stem.endswith("_test"))
        rules.write_text(f"{rules.read_text()}\n# another text is another revision\n")
        shutil.copytree(tmp_path / "models" / "diabetes" / "1", tmp_path / "models" / "diabetes" / "2")
        gateway.process.send_signal(signal.SIGHUP)
        until(scraper, lambda text: 'gateway_model_loaded{model="diabetes",version="2"' in text)
        for _ in range(2):
            before = gateway.child("gateway: observer", within_s=60)
            before.kill()
            before.wait(10)
            scrapes = scraper.scrapes
            until(scraper, lambda text, scrapes=scrapes: scraper.scrapes > scrapes + 2)
            assert gateway.child("gateway: observer").pid != before.pid
    finally:
        caller.close()
        try:
            until(scraper, lambda text: counted(text) == caller.answered)
        finally:
            scraper.close()
    assert scraper.faults == []
    assert scraper.refused > 0
    assert scraper.scrapes > 20
