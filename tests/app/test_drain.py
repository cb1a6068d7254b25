"""The order of a stop: not serving, a while for balancers, GOAWAY, calls in flight, the ledger, exit 0."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from running import ROOT, Running, command, start
from serving_graphs import endless, place, scale

from gateway.ledger import events
from gateway.ledger.export import leaves

PERMISSIVE = ROOT / "tests" / "models" / "policies"
DELAY_S, RUN_S = 4, 9


def eventually(check: Callable[[], bool], said: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not check():
        assert time.monotonic() < end, said()
        time.sleep(0.02)


def listens(gateway: Running) -> bool:
    try:
        socket.create_connection(("127.0.0.1", gateway.port), timeout=5).close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: the listener closed while we came
        return False
    return True


@pytest.mark.parametrize("transport", ["h2", "grpcio"])
def test_a_stop_turns_away_then_waits_then_ends_and_loses_nothing(tmp_path: Path, transport: str) -> None:
    place(tmp_path / "models", "slow", endless())
    place(tmp_path / "models", "quick", scale(2))
    options = ["--anonymous", "--transport", transport, "--server-drain-delay-s", str(DELAY_S)]
    options += ["--models-run-limit-s", str(RUN_S), "--server-grace-s", "60"]
    gateway = start(tmp_path / "data", *options, models=tmp_path / "models", policies=PERMISSIVE)
    n, x = triton.InferInput("n", [], "INT64"), triton.InferInput("x", [1], "FP32")
    n.set_data_from_numpy(np.array(2**60))
    x.set_data_from_numpy(np.ones(1, np.float32))
    row = triton.InferInput("x", [1, 4], "FP32")
    row.set_data_from_numpy(np.ones((1, 4), np.float32))
    answers: list[object] = []
    with triton.InferenceServerClient(gateway.url) as client:
        client.async_infer("slow", [n, x], lambda result, error: answers.append(error))
        client.infer("quick", [row])
        began = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: not client.is_server_ready(), gateway.said)  # the method that balancers ask
        assert client.infer("quick", [row]) is not None  # and whoever has not heard of it is served
        assert listens(gateway)
        assert time.monotonic() - began < DELAY_S
        eventually(lambda: not listens(gateway), gateway.said)
        assert time.monotonic() - began > DELAY_S - 0.5
        assert answers == []
        assert gateway.wait() == 0
        assert [f"was stopped after {RUN_S} s" in str(answer) for answer in answers] == [True]
    told = [events.decode(leaf).kind for leaf in leaves(gateway.data / "ledger", "gw.0")]
    assert told[-1] == "shutdown"
    rows = {row["model"]: row["outcome"] for row in gateway.export() if row["model"]}
    assert rows == {"quick": "answered", "slow": "failed"}
    assert command("ledger", "verify", "--data", str(gateway.data)).returncode == 0
