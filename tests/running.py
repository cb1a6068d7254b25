"""A real gateway for tests: started as an operator starts it, on free ports, stopped in order."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
COMMAND = (sys.executable, "-m", "gateway")
START_S = 180.0
"""A start took 15 s at a load average of 16 on two cores. One that fails ends, and is not waited for."""
READY = re.compile(r"gateway ready on (\S+):(\d+)")


def command(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run ``gateway`` with ``arguments`` to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=timeout, check=False, env=clean(), cwd=ROOT
    )


def clean() -> dict[str, str]:
    """This environment without what would configure a gateway or its telemetry."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "OTEL_"))}


@dataclass
class Running:
    """A gateway under test. ``key`` makes API keys for it."""

    process: subprocess.Popen[str]
    data: Path
    log: Path
    port: int = 0
    _keys: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def key(self, id: str, tenant: str, *groups: str) -> str:
        """The API key of ``id``, made on first use."""
        if (id, tenant) not in self._keys:
            options = [word for group in groups for word in ("--group", group)]
            done = command("keys", "create", "--id", id, "--tenant", tenant, *options, "--data", str(self.data))
            assert done.returncode == 0, done.stderr
            self._keys[id, tenant] = done.stdout.split()[0]
            time.sleep(0.25)  # the workers look at the file at most every 200 ms
        return self._keys[id, tenant]

    def child(self, title: str, *, within_s: float = 0.0) -> psutil.Process:
        """The child process whose title is ``title``; one that is being started may take ``within_s``."""
        end = time.monotonic() + within_s
        while True:
            for child in psutil.Process(self.process.pid).children():
                with contextlib.suppress(psutil.Error):  # it may end while we look
                    if " ".join(child.cmdline()).strip() == title:
                        return child
            if time.monotonic() >= end:
                raise AssertionError(f"no process is called {title!r}:\n{self.said()}")
            time.sleep(0.05)

    def said(self) -> str:
        """Everything logged so far."""
        return self.log.read_text()

    def admin_port(self) -> int:
        """The port that the observer listens on."""
        observer = self.child("gateway: observer")
        return next(c.laddr.port for c in observer.net_connections("tcp") if c.status == psutil.CONN_LISTEN)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of an admin page."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port()}{path}", timeout=5) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def export(self) -> list[dict[str, object]]:
        """Every call in the ledger, as ``gateway ledger export`` prints it."""
        done = command("ledger", "export", "--data", str(self.data), "--format", "jsonl")
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return [row for row in rows if row.get("kind", "call") == "call"]

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 40) -> int:
        """Ask it to end and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait(timeout)

    def wait(self, timeout: float = 60) -> int:
        """Its exit status, once it has ended by itself."""
        status = self.process.wait(timeout)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


def start(
    data: Path,
    *options: str,
    models: Path | None = None,
    policies: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Running:
    """A gateway that is ready. Raises: AssertionError with its log if it does not become so."""
    running = launch(data, *options, models=models, policies=policies, environ=environ)
    found = READY.search(_first_line(running, START_S))
    if found is None:
        running.stop(signal.SIGKILL)
        raise AssertionError(f"not ready within {START_S} s:\n{running.said()}")
    running.port = int(found[2])
    return running


def _first_line(running: Running, seconds: float) -> str:
    """What the gateway prints first, "" if it ends or says nothing for so long."""
    stdout = running.process.stdout
    assert stdout is not None
    ready, _, _ = select.select([stdout], [], [], seconds)
    return stdout.readline() if ready else ""


def launch(
    data: Path,
    *options: str,
    models: Path | None = None,
    policies: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Running:
    """A gateway that was just started; ``environ`` is added to a clean environment."""
    data.mkdir(parents=True, exist_ok=True)
    log = data.parent / f"{data.name}.log"
    words = ["serve", "--models", str(models or ROOT / "examples/models"), "--data", str(data)]
    words += ["--policies", str(policies or ROOT / "policies"), *_ports(options), *options]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*COMMAND, *words],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env=clean() | dict(environ or {}),
            start_new_session=True,
        )
    return Running(process, data, log)


def _ports(options: Sequence[str]) -> list[str]:
    return [word for flag in ("--port", "--admin-port") if flag not in options for word in (flag, "0")]
