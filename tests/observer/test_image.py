"""What the Dockerfile does, step by step and without docker: install, run read-only as its user, probe, stop."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import clean

pytestmark = pytest.mark.chaos

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
PLACES = {"/opt/gateway": "opt", "/models": "models", "/policies": "policies", "/var/lib/gateway": "state"}


def instruction(name: str) -> str:
    """The last instruction of this name."""
    return re.findall(rf"^{name} (.+)$", TEXT, re.MULTILINE)[-1]


def listed(name: str) -> list[str]:
    """The words of an instruction in its JSON form."""
    return list(json.loads(instruction(name).partition("[")[1] + instruction(name).partition("[")[2]))


def user() -> int | None:
    """Whom to be: the image's user where we may become it, else who we are."""
    return int(instruction("USER")) if os.geteuid() == 0 else None


def interpreter() -> str:
    """A Python that the image's user can run: root's own may lie where nobody else may look."""
    ask = ["-c", "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"]
    for path in (sys.executable, "/usr/bin/python3"):
        try:
            found = subprocess.run([path, *ask], user=user(), capture_output=True, timeout=30, check=False)
        except OSError:
            continue
        if found.returncode == 0:
            return path
    text = f"no Python 3.11 with venv that user {user()} may run: apt-get install python3-venv"
    pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """The image's directories, installed as its build stage does; nobody but the owner may write, but for the state."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-image-"))
    folder.chmod(0o755)
    build = folder / "build"
    for source in re.findall(r"^COPY (?!--from)(.+) \./?\S*$", TEXT, re.MULTILINE):
        for name in source.split():
            target = build / name
            target.parent.mkdir(parents=True, exist_ok=True)
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, target, ignore=ignored) if (ROOT / name).is_dir() else shutil.copy(
                ROOT / name, target
            )
    steps = re.search(r"^RUN (python -m venv (?:.|\\\n)+?)$(?!\n &&)", TEXT, re.MULTILINE)
    assert steps is not None
    script = steps[1].replace("\\\n", " ").replace("/opt/gateway", str(folder / "opt"))
    script = script.replace("python -m venv", f"{interpreter()} -m venv").replace("--no-cache-dir", "")
    done = subprocess.run(["sh", "-ec", script], cwd=build, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.copytree(ROOT / "examples" / "models", folder / "models")
    shutil.copytree(ROOT / "policies", folder / "policies")
    (folder / "state").mkdir()
    if os.geteuid() == 0:
        os.chown(folder / "state", int(instruction("USER")), int(instruction("USER")))
    yield folder
    shutil.rmtree(folder)


class Container:
    """Runs commands as the image's user, with its environment, on free ports."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = [str(port) for port in free_ports()]
        environ = dict(pair.split("=", 1) for pair in shlex.split(instruction("ENV")))
        environ["PATH"] = f"{folder / 'opt' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self._environ = clean() | environ | {"HOME": str(folder / "state")}
        self._user = user()

    def words(self, words: list[str]) -> list[str]:
        """``words`` with the image's places and ports replaced by ours."""
        placed = [str(self._folder / PLACES[word]) if word in PLACES else word for word in words]
        return [word.replace("8001", self._ports[0]).replace("0.0.0.0", "127.0.0.1") for word in placed]

    def start(self) -> subprocess.Popen[bytes]:
        ports = ["--port", self._ports[0], "--admin-port", self._ports[1]]
        words = [*listed("ENTRYPOINT"), *self.words(listed("CMD")), *ports]
        return subprocess.Popen(words, env=self._environ, cwd=self._folder / "state", user=self._user)

    def healthy(self) -> bool:
        words = self.words(json.loads(instruction("HEALTHCHECK").partition("CMD ")[2]))
        done = subprocess.run(words, env=self._environ, user=self._user, capture_output=True, timeout=30, check=False)
        return done.returncode == 0


def free_ports() -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def test_the_image_serves_read_only_as_its_user_is_healthy_and_stops_in_order(image: Path) -> None:
    container = Container(image)
    assert not container.healthy()
    before = sorted(path for name in ("opt", "models", "policies") for path in (image / name).rglob("*"))
    process = container.start()
    try:
        end = time.monotonic() + 60
        while not container.healthy():
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < end, "never healthy"
            time.sleep(0.5)
        assert os.stat(f"/proc/{process.pid}").st_uid == (user() or os.geteuid())
        process.send_signal(signal.Signals[instruction("STOPSIGNAL")])
        assert process.wait(40) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    after = sorted(path for name in ("opt", "models", "policies") for path in (image / name).rglob("*"))
    assert after == before, "it wrote where an image is read-only"
    assert (image / "state" / "ledger").is_dir()


def test_the_base_is_named_by_version_and_the_user_by_number() -> None:
    assert all(
        re.fullmatch(r"python:\d\.\d+-slim-\w+( AS \w+)?", base) for base in re.findall(r"^FROM (.+)$", TEXT, re.M)
    )
    assert instruction("USER").isdecimal()
