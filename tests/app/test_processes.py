"""Three kinds of process that live and end together, seen from outside."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
from running import Running, command, start

PATIENCE_S = 20.0


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    running = start(tmp_path / "data")
    yield running
    running.stop()


def predict(gateway: Running, key: str) -> triton.InferResult:
    tensor = triton.InferInput("measurements", [1, 10], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 10), np.float32))
    with triton.InferenceServerClient(gateway.url) as client:
        return client.infer("diabetes", [tensor], headers={"x-api-key": key}, client_timeout=5)


def eventually(check: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.1)
    return False


def test_processes_name_themselves_and_the_observer_tells_what_the_records_hold(gateway: Running) -> None:
    key = gateway.key("screening-app", "clinic")
    for _ in range(3):
        predict(gateway, key)

    gateway.child("gateway: worker 0")
    assert gateway.get("/livez")[0] == 200
    assert eventually(lambda: gateway.get("/readyz?verbose")[0] == 200), gateway.get("/readyz?verbose")
    counted = 'gateway_requests_total{model="diabetes",version="1",tenant="clinic",decision="allow",code="OK"} 3'
    assert eventually(lambda: counted in gateway.get("/metrics")[1]), gateway.get("/metrics")[1]
    assert '"version"' in gateway.get("/version")[1]


def test_a_killed_worker_is_restarted_and_nothing_answered_is_lost(gateway: Running) -> None:
    key = gateway.key("screening-app", "clinic")
    predict(gateway, key)
    worker = gateway.child("gateway: worker 0")
    worker.kill()
    assert eventually(lambda: _answers(gateway, key))
    assert gateway.child("gateway: worker 0").pid != worker.pid
    assert gateway.stop() == 0
    assert len([row for row in gateway.export() if row["model"] == "diabetes"]) == 2
    assert command("ledger", "verify", "--data", str(gateway.data)).returncode == 0
    assert "the worker 0 ended (signal SIGKILL); restarting" in gateway.said()


def test_a_worker_that_dies_again_and_again_is_restarted_less_and_less_often(gateway: Running) -> None:
    for deaths, pause in enumerate(("0.1", "0.2", "0.4"), start=1):
        gateway.child("gateway: worker 0", within_s=PATIENCE_S).kill()
        assert eventually(lambda deaths=deaths: gateway.said().count("the worker 0 is back") == deaths), gateway.said()
        assert f"the worker 0 ended (signal SIGKILL); restarting in {pause} s" in gateway.said()


def test_a_killed_observer_comes_back_with_the_same_counts(gateway: Running) -> None:
    key = gateway.key("screening-app", "clinic")
    predict(gateway, key)
    counted = 'tenant="clinic",decision="allow",code="OK"} 1'
    assert eventually(lambda: counted in gateway.get("/metrics")[1])
    gateway.child("gateway: observer").kill()
    assert eventually(lambda: _pages(gateway, counted))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_the_exit_status_is_zero(tmp_path: Path, number: signal.Signals) -> None:
    running = start(tmp_path / "data")
    children = psutil.Process(running.process.pid).children()
    assert running.stop(number) == 0
    assert [c for c in children if c.is_running() and c.status() != psutil.STATUS_ZOMBIE] == []
    shown = command("ledger", "tail", "--all", "--data", str(running.data), "--json")
    assert shown.returncode == 0
    assert "shutdown" in shown.stdout


def test_a_reload_while_a_worker_starts_does_not_end_it(gateway: Running) -> None:
    key = gateway.key("screening-app", "clinic")
    first = gateway.child("gateway: worker 0")
    first.kill()
    psutil.wait_procs([first], timeout=PATIENCE_S)
    for _ in range(40):  # until it is back, and a while longer
        gateway.process.send_signal(signal.SIGHUP)
        time.sleep(0.05)
    assert eventually(lambda: _answers(gateway, key))
    assert gateway.stop() == 0
    assert gateway.said().count("the worker 0 ended") == 1, gateway.said()


def test_a_second_signal_hurries_the_drain(tmp_path: Path) -> None:
    running = start(tmp_path / "data", "--server-drain-delay-s", "600")
    running.process.send_signal(signal.SIGTERM)
    assert eventually(lambda: "a second signal hurries" in running.said())
    time.sleep(0.3)  # for the workers to hear of the first
    assert running.process.poll() is None
    assert running.stop() == 0
    verified = command("ledger", "verify", "--data", str(running.data))
    assert verified.returncode == 0, verified.stdout


def test_children_leave_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    running = start(tmp_path / "data")
    children = psutil.Process(running.process.pid).children()
    assert len(children) == 2
    running.stop(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert alive == []
    again = start(tmp_path / "data")
    assert again.stop() == 0


def test_two_workers_share_the_port_and_each_has_its_shard(tmp_path: Path) -> None:
    running = start(tmp_path / "data", "--workers", "2")
    key = running.key("screening-app", "clinic")
    for _ in range(40):
        predict(running, key)
    assert running.stop() == 0
    shards = {str(row["prediction_id"]).split("/")[0] for row in running.export()}
    assert shards == {"gw.0", "gw.1"}
    assert len(running.export()) == 40


def _answers(gateway: Running, key: str) -> bool:
    try:
        predict(gateway, key)
    except triton.InferenceServerException:
        return False
    return True


def _pages(gateway: Running, text: str) -> bool:
    try:
        return text in gateway.get("/metrics")[1]
    except (AssertionError, StopIteration, OSError, psutil.Error):
        return False
