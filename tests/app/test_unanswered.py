"""A worker is killed while calls run in a slow model: its successor writes down how many, and everybody shows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
from running import ROOT, Running, command, start
from serving_graphs import endless, place, scale

from gateway.ledger import events
from gateway.ledger.export import leaves
from gateway.observer import state

PERMISSIVE = ROOT / "tests" / "models" / "policies"
SLOW, QUICK = 7, 20


def eventually(check: Callable[[], bool], said: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not check():
        assert time.monotonic() < end, said()
        time.sleep(0.05)


def doubling(times: int) -> list[triton.InferInput]:
    n, x = triton.InferInput("n", [], "INT64"), triton.InferInput("x", [1], "FP32")
    n.set_data_from_numpy(np.array(times))
    x.set_data_from_numpy(np.ones(1, np.float32))
    return [n, x]


def scaled() -> list[triton.InferInput]:
    x = triton.InferInput("x", [1, 4], "FP32")
    x.set_data_from_numpy(np.ones((1, 4), np.float32))
    return [x]


def accounts(gateway: Running) -> list[dict[str, object]]:
    """What successors have written down of those who died."""
    found = [events.decode(leaf) for leaf in leaves(gateway.data / "ledger", "gw.0") if b'"recover"' in leaf[:40]]
    return [dict(event.fields) for event in found]


@pytest.mark.parametrize("transport", ["h2", "grpcio"])
def test_calls_that_die_with_their_worker_are_counted_in_the_ledger(tmp_path: Path, transport: str) -> None:
    place(tmp_path / "models", "slow", endless())
    place(tmp_path / "models", "quick", scale(2))
    options = ["--anonymous", "--models-run-limit-s", "600", "--transport", transport]
    gateway = start(tmp_path / "data", *options, models=tmp_path / "models", policies=PERMISSIVE)
    failed: list[object] = []
    with triton.InferenceServerClient(gateway.url) as client, triton.InferenceServerClient(gateway.url) as other:
        for _ in range(SLOW):
            client.async_infer("slow", doubling(2**60), lambda result, error: failed.append(error))
        for _ in range(QUICK):
            other.infer("quick", scaled(), client_timeout=20)
        states = gateway.data / "state"
        eventually(lambda: state.read(states)[0].inflight == SLOW, lambda: state.read(states))
        worker = gateway.child("gateway: worker 0")
        worker.kill()
        psutil.wait_procs([worker], timeout=20)
        eventually(lambda: len(failed) == SLOW, gateway.said)
    eventually(lambda: "the worker 0 is back" in gateway.said(), gateway.said)
    shown = accounts(gateway)
    assert [(one["owed"], one["recorded"], one["unanswered"]) for one in shown] == [(QUICK + SLOW, QUICK, SLOW)]
    counted = f"gateway_unanswered_calls_total {SLOW}"
    eventually(lambda: counted in gateway.get("/metrics")[1], lambda: gateway.get("/metrics")[1])
    assert f"gateway_started_calls_total {SLOW + QUICK}" in gateway.get("/metrics")[1]
    assert gateway.stop() == 0
    assert gateway.said().count('"unanswered": 7') == 1
    verified = command("ledger", "verify", "--data", str(gateway.data))
    assert verified.returncode == 0, verified.stdout
    assert "7 calls died unanswered with a worker" in verified.stdout
    assert '"unanswered": 7' in command("ledger", "tail", "--all", "-n", "50", "--data", str(gateway.data)).stdout
    used = command("usage", "--data", str(gateway.data))
    assert used.returncode == 0, used.stdout + used.stderr
    assert "1 recover" in used.stdout
