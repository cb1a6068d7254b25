"""A model file is replaced again and again under a running gateway, and no call fails because of it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from running import start
from serving_graphs import matmul, place, scale

POLICIES = Path(__file__).parent.parent / "models" / "policies"

pytestmark = pytest.mark.slow


def replace_file(repository: Path, data: bytes) -> None:
    """As deployments do it: written beside, then renamed."""
    target = repository / "m" / "1" / "model.onnx"
    fresh = repository.parent / "fresh.onnx"
    fresh.write_bytes(data)
    os.replace(fresh, target)


def test_no_call_fails_while_the_model_is_replaced(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    place(repository, "m", scale(1))
    place(repository, "n", matmul(256, 40))
    running = start(tmp_path / "data", "--anonymous", "--models-poll-s", "0.05", models=repository, policies=POLICIES)
    stop = threading.Event()
    seen: set[float] = set()
    failures: list[Exception] = []

    def caller(name: str, width: int) -> None:
        tensor = triton.InferInput("x", [1, width], "FP32")
        tensor.set_data_from_numpy(np.ones((1, width), np.float32))
        with triton.InferenceServerClient(running.url) as client:
            while not stop.is_set():
                try:
                    answer = client.infer(name, [tensor], client_timeout=20).as_numpy("y")
                except Exception as error:
                    failures.append(error)
                    return
                if name == "m":
                    assert len(set(answer[0].tolist())) == 1
                    seen.add(float(answer[0, 0]))

    callers = [threading.Thread(target=caller, args=given) for given in (("m", 4), ("m", 4), ("n", 256))]
    for one in callers:
        one.start()
    for factor in range(2, 7):
        replace_file(repository, scale(factor))
        end = time.monotonic() + 30
        while float(factor) not in seen and not failures and time.monotonic() < end:
            time.sleep(0.02)
    replace_file(repository, scale(9)[:50])
    time.sleep(0.5)
    stop.set()
    for one in callers:
        one.join()
    assert running.stop() == 0
    assert failures == []
    assert seen == {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}
    digests = {row["model_digest"] for row in running.export() if row["model"] == "m"}
    assert len(digests) == 6
