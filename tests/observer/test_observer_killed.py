"""A whole gateway under load while its observer is killed: requests do not notice, and every count is right after."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
from running import command, start


def grows(count: list[int]) -> bool:
    """Whether more is answered within ten seconds."""
    before, end = count[0], time.monotonic() + 10
    while time.monotonic() < end:
        if count[0] > before:
            return True
        time.sleep(0.05)
    return False


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
        try:
            for _ in range(2):
                assert grows(answered)
                gateway.child("gateway: observer", within_s=60).kill()
                assert grows(answered)
        finally:
            stop.set()
            caller.join()

        expected = f'tenant="research",decision="allow",code="OK"}} {answered[0]}\n'
        page = ""
        end = time.monotonic() + 60
        while expected not in page and time.monotonic() < end:
            time.sleep(0.1)
            try:
                page = gateway.get("/metrics")[1]
            except (OSError, AssertionError, StopIteration, psutil.Error):
                continue  # it is being restarted
        counted = re.findall(r'gateway_requests_total\{.*tenant="research".*', page)
        assert expected in page, (answered, counted)
    finally:
        gateway.stop()
    done = command("usage", "--data", str(gateway.data), "--json", "--recount")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["tenant"], row["model"], row["requests"], row["rows"]) == (
        "research",
        "sentiment",
        answered[0],
        answered[0],
    )
    assert "(exact)" in done.stderr
