"""ModelStatistics around a measured load, as perf_analyzer reads it, over two workers and the death of one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as triton
from oip_world import world
from running import Running
from tritonclient.grpc.service_pb2 import ModelStatistics
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

pytestmark = pytest.mark.slow

OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]  # so that either worker may get it
CALLERS = 8
CALLS = 12  # of each caller
ROWS = 2
PARTS = ("queue", "compute_input", "compute_infer", "compute_output")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory) -> Iterator[Running]:
    with world(tmp_path_factory.mktemp("statistics"), "h2", "--workers", "2") as running:
        yield running


@pytest.fixture(scope="module")
def headers(gateway):
    return {"authorization": f"Bearer {gateway.key('tester', 'lab')}"}


def call(gateway: Running, headers: dict[str, str], model: str, calls: int) -> float:
    """Ask ``calls`` times over one new connection; the seconds that they took."""
    datatype = model.removeprefix("id_")
    tensor = triton.InferInput("x", [ROWS, 2], datatype)
    tensor.set_data_from_numpy(np.ones((ROWS, 2), triton_to_np_dtype(datatype)))
    with triton.InferenceServerClient(gateway.url, channel_args=OWN_CONNECTION) as client:
        began = time.perf_counter()
        for _ in range(calls):
            client.infer(model, [tensor], headers=headers)
        return time.perf_counter() - began


def counts(gateway: Running, headers: dict[str, str], model: str) -> ModelStatistics | None:
    """What either worker tells; None where the connection belonged to one that died."""
    try:
        with triton.InferenceServerClient(gateway.url, channel_args=OWN_CONNECTION) as client:
            (row,) = client.get_inference_statistics(model, headers=headers).model_stats
    except InferenceServerException:
        return None
    return row


def settled(gateway: Running, headers: dict[str, str], model: str, success: int) -> ModelStatistics:
    """The first row with ``success`` successful calls: workers hear of each other's up to 0.2 s late."""
    end = time.monotonic() + 30
    while True:
        row = counts(gateway, headers, model)
        if row is not None and row.inference_stats.success.count == success:
            return row
        assert time.monotonic() < end, row
        time.sleep(0.1)


def published(gateway: Running, model: str) -> int:
    """Successful calls that the workers have told each other of."""
    boards = [json.loads(path.read_bytes()) for path in (gateway.data / "state").glob("statistics.*")]
    return sum(row["success"]["count"] for board in boards for row in board["rows"] if row["name"] == model)


def test_two_snapshots_around_a_load_tell_its_calls_and_its_time(gateway, headers):
    model = "id_FP64"
    before = counts(gateway, headers, model)
    began_ms = time.time_ns() // 1_000_000
    with ThreadPoolExecutor(CALLERS) as pool:
        took = list(pool.map(lambda _: call(gateway, headers, model, CALLS), range(CALLERS)))
    total = before.inference_stats.success.count + CALLERS * CALLS
    after = settled(gateway, headers, model, total)

    def delta(name: str) -> tuple[int, int]:
        new, old = getattr(after.inference_stats, name), getattr(before.inference_stats, name)
        return new.count - old.count, new.ns - old.ns

    assert [delta(part)[0] for part in ("success", *PARTS)] == [CALLERS * CALLS] * 5
    assert (delta("fail"), delta("cache_hit"), delta("cache_miss")) == ((0, 0),) * 3
    assert sum(delta(part)[1] for part in PARTS) == delta("success")[1]
    assert 0 < delta("success")[1] < sum(took) * 1e9  # the server's part of what the callers waited
    assert after.inference_count - before.inference_count == CALLERS * CALLS * ROWS
    assert after.execution_count - before.execution_count <= CALLERS * CALLS
    assert sum(b.compute_infer.count for b in after.batch_stats) == after.execution_count
    assert sum(b.batch_size * b.compute_infer.count for b in after.batch_stats) == after.inference_count
    assert began_ms <= after.last_inference <= time.time_ns() // 1_000_000


def test_no_counter_falls_when_a_worker_dies(gateway, headers):
    model = "id_INT64"
    for _ in range(12):
        call(gateway, headers, model, 1)
    while published(gateway, model) < 12:  # what a worker has not told yet dies with it
        time.sleep(0.1)
    worker = gateway.child("gateway: worker 0")
    worker.kill()
    worker.wait(30)  # no new connection can be its any more
    settled(gateway, headers, model, 12)
    call(gateway, headers, model, 1)
    settled(gateway, headers, model, 13)
