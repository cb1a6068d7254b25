"""The demo shows what it says, ends when told, and fails when the gateway does not do as it must."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from running import COMMAND, ROOT, clean, command

from gateway.cli.demo.meaning import drawing
from gateway.cli.demo.process import free_port

PORTS = ("--port", "0", "--admin-port", "0")


def test_a_taken_port_is_replaced() -> None:
    taken = free_port(0)
    with socket.create_server(("127.0.0.1", taken)):
        assert free_port(taken) not in (0, taken)
    assert free_port(taken) == taken


def test_a_picture_is_as_large_as_it_was() -> None:
    lines = drawing(np.array([[0.0, 16.0], [8.0, 100.0]])).plain.split("\n")
    assert lines == ["  ██", "▒▒██"]


@pytest.mark.slow
def test_the_tour_ends_well() -> None:
    done = command("demo", "--once", *PORTS)
    assert done.returncode == 0, done.stdout + done.stderr
    for status in ("OK", "PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND", "INVALID_ARGUMENT"):
        assert status in done.stdout
    assert "probability masked" in done.stdout
    assert "0 findings" in done.stdout
    assert (
        done.stdout.index("gateway usage")
        < done.stdout.index("reconciled:")
        < done.stdout.index("ledger verify --data")
    )


@pytest.mark.slow
def test_an_answer_that_should_have_been_another_fails_the_tour(tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    for part in ("models", "data"):
        shutil.copytree(ROOT / "examples" / part, examples / part)
    shutil.rmtree(examples / "models" / "sentiment")

    done = command("demo", "--once", "--examples", str(examples), *PORTS)

    assert done.returncode == 1
    assert "expected OK" in done.stdout
    assert "1 calls did not end as they must" in done.stderr


@pytest.mark.slow
def test_ctrl_c_ends_the_demo_and_the_gateway(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "demo", "--data", str(tmp_path / "data"), *PORTS],
        stdout=subprocess.PIPE,
        text=True,
        env=clean(),
        cwd=ROOT,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "Ctrl-C ends the demo" in line:
            break
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3, "".join(said)
    process.send_signal(signal.SIGINT)
    assert process.wait(40) == 0
    process.stdout.close()
    end = time.monotonic() + 10
    while any(child.is_running() for child in children) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [child for child in children if child.is_running()]


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    done = command("demo", "--once", "--examples", str(tmp_path / "none"), *PORTS)
    assert done.returncode == 1
    assert "is no directory; run this in a checkout, or say --examples and --policies" in done.stderr
