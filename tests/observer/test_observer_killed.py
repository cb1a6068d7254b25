"""A whole gateway under load while its observer is killed: requests do not notice, and every count is right after."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from running import command, start


@pytest.mark.slow
def test_the_observer_is_killed_under_load_and_all_counts_are_those_of_the_ledger(tmp_path: Path) -> None:
    gateway = start(tmp_path / "data")
    try:
        key = gateway.key("app", "research", "callers")
        answered, stop = [0], threading.Event()

        def load() -> None:
            text = triton.InferInput("text", [1, 1], "BYTES")
            text.set_data_from_numpy(np.array([[b"a good film"]], dtype=object))
            with triton.InferenceServerClient(gateway.url) as client:
                while not stop.is_set():
                    client.infer("sentiment", [text], headers={"authorization": f"Bearer {key}"})
                    answered[0] += 1

        caller = threading.Thread(target=load)
        caller.start()
        for _ in range(2):
            time.sleep(1.5)
            before = answered[0]
            gateway.child("gateway: observer").kill()
            time.sleep(0.3)
            assert answered[0] > before
        time.sleep(1.5)
        stop.set()
        caller.join()

        expected = f'tenant="research",decision="allow",code="OK"}} {answered[0]}\n'
        page = ""
        for _ in range(100):
            time.sleep(0.1)
            try:
                page = gateway.get("/metrics")[1]
            except (OSError, AssertionError, StopIteration):
                continue  # it is being restarted
            if expected in page:
                break
        counted = re.findall(r'gateway_requests_total\{.*tenant="research".*', page)
        assert expected in page, (answered, counted)
    finally:
        gateway.stop()
    done = command("usage", "--data", str(gateway.data), "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["tenant"], row["model"], row["requests"], row["rows"]) == (
        "research",
        "sentiment",
        answered[0],
        answered[0],
    )
    assert "(exact)" in done.stderr
