"""SIGHUP takes a new configuration whole or not at all, and no call that a worker took notices."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
from running import ROOT, command, start
from serving_graphs import endless, place

from gateway.ledger import events
from gateway.ledger.reader import ShardReader
from gateway.observer import state

PATIENCE_S = 60.0
PERMISSIVE = ROOT / "tests" / "models" / "policies"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


class Configured:
    """A gateway with a configuration file."""

    def __init__(self, folder: Path, *options: str, text: str = "", **places: Path) -> None:
        self.file = folder / "gateway.toml"
        self.write(text)
        self.running = start(folder / "data", "--config", str(self.file), *options, **places)
        self.key = self.running.key("screening-app", "clinic")

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def reload(self, text: str) -> None:
        self.write(text)
        self.running.process.send_signal(signal.SIGHUP)

    def says(self, pattern: str, times: int = 1) -> None:
        """Wait until the log has said ``pattern`` so often."""
        eventually(lambda: len(re.findall(pattern, self.running.said())) >= times, self.running.said)

    def titles(self) -> set[str]:
        """Of the child processes."""
        found = set()
        for child in psutil.Process(self.running.process.pid).children():
            try:
                found.add(" ".join(child.cmdline()).strip())
            except psutil.Error:
                continue
        return found


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Configured]:
    configured = Configured(tmp_path)
    yield configured
    configured.running.stop()


def eventually(check: Callable[[], bool], said: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < end, said()
        time.sleep(0.05)


def predict(client: triton.InferenceServerClient, key: str) -> None:
    tensor = triton.InferInput("measurements", [1, 10], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 10), np.float32))
    client.infer("diabetes", [tensor], headers={"x-api-key": key}, client_timeout=20)


class Callers:
    """Call all the time: some on one connection, some on a new one each time. What fails is kept."""

    def __init__(self, gateway: Configured) -> None:
        self._gateway = gateway
        self._stop = threading.Event()
        self.failed: list[object] = []
        self.answered = 0
        self._threads = [threading.Thread(target=self._run, args=(kept,)) for kept in (True, True, False)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, kept: bool) -> None:
        client = triton.InferenceServerClient(self._gateway.running.url)
        while not self._stop.is_set():
            try:
                predict(client, self._gateway.key)
                self.answered += 1
            except triton.InferenceServerException as error:
                self.failed.append(error)
            if not kept:
                client.close()
                client = triton.InferenceServerClient(self._gateway.running.url)
        client.close()


def governed(data: Path) -> list[object]:
    """The keys that each change of the configuration has named in the governance ledger."""
    reader = ShardReader(data / "governance", "gov")
    try:
        told = [events.decode(leaf) for _, leaf in reader.read(0, reader.size())]
    finally:
        reader.close()
    return [event.fields["keys"] for event in told if event.kind == "config_changed"]


def inflight(gateway: Configured, worker: int) -> int:
    """How many calls the worker has in hand, as it says twice a second."""
    return next(each.inflight for each in state.read(gateway.running.data / "state") if each.worker == worker)


def predict_once(gateway: Configured) -> None:
    with triton.InferenceServerClient(gateway.running.url) as client:
        predict(client, gateway.key)


def reflects(gateway: Configured) -> bool:
    with grpc.insecure_channel(gateway.running.url) as channel:
        call = channel.stream_stream(REFLECTION)(iter([b""]), timeout=10)
        return call.code() is not grpc.StatusCode.UNIMPLEMENTED


CUT_OFF = re.compile(r"\[StatusCode\.(CANCELLED|UNAVAILABLE)\]")
"""How gRPC core turns away what comes while it says goodbye: see docs/transport.md, where the two differ."""


@pytest.mark.parametrize("transport", ["h2", "grpcio"])
def test_a_change_takes_effect_and_no_call_that_was_taken_fails(tmp_path: Path, transport: str) -> None:
    gateway = Configured(tmp_path, "--transport", transport)
    try:
        assert not reflects(gateway)
        with Callers(gateway) as callers:
            gateway.reload("[server]\nreflection = true\n")
            gateway.says("workers.left")
            eventually(lambda: reflects(gateway), gateway.running.said)
            gateway.reload("[server]\nworkers = 2\n")
            gateway.says("workers.left", times=2)
            assert gateway.titles() == {"gateway: worker 0", "gateway: worker 2", "gateway: observer"}
            time.sleep(0.5)
        failed = [str(error) for error in callers.failed]
        assert [text for text in failed if transport == "h2" or not CUT_OFF.match(text)] == []
        assert callers.answered > 20
        eventually(lambda: not reflects(gateway), gateway.running.said)
        eventually(lambda: gateway.running.get("/readyz")[0] == 200, lambda: gateway.running.get("/readyz?verbose"))
    finally:
        status = gateway.running.stop()
    assert status == 0
    assert command("ledger", "verify", "--data", str(gateway.running.data)).returncode == 0
    rows = [row for row in gateway.running.export() if row["model"] == "diabetes"]
    assert {row["outcome"] for row in rows} == {"answered"}
    assert len(rows) == callers.answered
    assert governed(gateway.running.data) == [("server.reflection",), ("server.reflection", "server.workers")]


def test_a_call_that_runs_when_its_worker_is_relieved_is_answered(tmp_path: Path) -> None:
    place(tmp_path / "models", "doubling", endless())
    text = "[models]\nrun_limit_s = 10\n"
    gateway = Configured(tmp_path, text=text, models=tmp_path / "models", policies=PERMISSIVE)
    answers: list[object] = []
    with triton.InferenceServerClient(gateway.running.url) as client:
        n, x = triton.InferInput("n", [], "INT64"), triton.InferInput("x", [1], "FP32")
        n.set_data_from_numpy(np.array(2**60))
        x.set_data_from_numpy(np.ones(1, np.float32))
        headers = {"x-api-key": gateway.key}
        client.async_infer("doubling", [n, x], lambda result, error: answers.append(error), headers=headers)
        eventually(lambda: inflight(gateway, 0) == 1, gateway.running.said)
        gateway.reload("[models]\nrun_limit_s = 11\n")
        gateway.says("config.reloaded")
        assert answers == []
        eventually(lambda: bool(answers), gateway.running.said)
    assert "was stopped after 10 s" in str(answers[0])
    gateway.says("workers.left")
    assert gateway.running.stop() == 0
    (row,) = [row for row in gateway.running.export() if row["model"] == "doubling"]
    assert (row["prediction_id"], row["outcome"]) == ("gw.0/2", "failed")


REFUSED = [
    ("[server]\nreflexion = true", "unknown key 'server.reflexion'; the nearest known one is 'server.reflection'"),
    ("[server]\ngrace_s = -1", "server.grace_s: input should be greater than or equal to 0, got -1 from"),
    ("[server", "is not valid TOML"),
    ("[server]\nhost = '127.0.0.2'", "server.host: it is '127.0.0.1', got '127.0.0.2'; restart to change it"),
    ("[server]\nreflection = true\n[identity]\ntrust = 'nowhere.toml'", "nowhere.toml"),
    (
        "[server]\nreflection = true\n[telemetry]\nwebhook_token = 'nowhere'",
        "telemetry.webhook_token nowhere cannot be",
    ),
]


def test_what_cannot_be_used_changes_nothing_and_is_named(gateway: Configured) -> None:
    with Callers(gateway) as callers:
        for text, said in REFUSED:
            gateway.reload(text)
            gateway.says(f"the configuration stays as it is: .*{re.escape(said)}")
            eventually(lambda: "gateway: observer" in gateway.titles(), gateway.titles)
            assert gateway.titles() == {"gateway: worker 0", "gateway: observer"}
    assert callers.failed == []
    assert not reflects(gateway)
    eventually(lambda: gateway.running.get("/readyz")[0] == 200, lambda: gateway.running.get("/readyz?verbose"))
    assert gateway.running.stop() == 0
    assert governed(gateway.running.data) == []


def test_what_only_the_observer_needs_to_know_leaves_the_workers_alone(gateway: Configured) -> None:
    before = {title: gateway.running.child(title).pid for title in ("gateway: worker 0", "gateway: observer")}
    gateway.reload("[telemetry]\ntriton_metrics = true\n")
    gateway.says("config.reloaded")
    assert gateway.running.child("gateway: worker 0").pid == before["gateway: worker 0"]
    assert gateway.running.child("gateway: observer").pid != before["gateway: observer"]
    predict_once(gateway)
    eventually(lambda: "nv_inference_request_success" in gateway.running.get("/metrics")[1], gateway.running.said)


def test_a_stop_in_the_middle_of_a_reload_leaves_nobody_behind(gateway: Configured) -> None:
    children = psutil.Process(gateway.running.process.pid).children()
    gateway.reload("[server]\nworkers = 3\n")
    eventually(lambda: len(psutil.Process(gateway.running.process.pid).children()) > 2, gateway.titles)
    children += psutil.Process(gateway.running.process.pid).children()
    assert gateway.running.stop() == 0
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
