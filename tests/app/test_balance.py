"""Connections that all went to one worker are spread again once they are old."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import grpc
import psutil
import pytest
from running import ROOT, Running, start
from serving_graphs import place, scale

from gateway.app.generation import workers_of
from gateway.config import load
from gateway.v1.inference import ModelInferRequest

METHOD = "/inference.GRPCInferenceService/ModelInfer"
CALLERS, AGE_S = 8, 1.0


def question() -> bytes:
    request = ModelInferRequest(model_name="quick")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    request.raw_input_contents.append(bytes(16))
    return request.SerializeToString()


def workers(gateway: Running, channels: list[grpc.Channel]) -> Counter[str]:
    """Which shard recorded a call on each of the connections."""
    found: Counter[str] = Counter()
    for channel in channels:
        _, call = channel.unary_unary(METHOD).with_call(question(), timeout=20, wait_for_ready=True)
        found[dict(call.trailing_metadata())["gateway-prediction-id"].partition("/")[0]] += 1
    return found


@pytest.mark.parametrize("transport", ["h2", "grpcio"])
def test_an_imbalance_lasts_no_longer_than_a_connection(tmp_path: Path, transport: str) -> None:
    place(tmp_path / "models", "quick", scale(2))
    options = ["--anonymous", "--workers", "2", "--limits-max-age-s", str(AGE_S), "--transport", transport]
    gateway = start(
        tmp_path / "data", *options, models=tmp_path / "models", policies=ROOT / "tests" / "models" / "policies"
    )
    second = gateway.child("gateway: worker 1")
    second.kill()
    psutil.wait_procs([second], timeout=20)
    alone = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(gateway.url, options=alone) for _ in range(CALLERS)]
    assert workers(gateway, channels) == {"gw.0": CALLERS}
    end = time.monotonic() + 60
    while min((found := workers(gateway, channels)).values()) < 2 or len(found) < 2:
        assert time.monotonic() < end, found
        time.sleep(AGE_S / 4)
    for channel in channels:
        channel.close()
    assert gateway.stop() == 0


def test_auto_is_a_worker_for_each_core() -> None:
    config = load(flags={"server.workers": "auto"}, environment={})
    assert workers_of(config, 1).numbers == tuple(range(os.cpu_count() or 1))


def test_new_workers_get_the_lowest_numbers_that_nobody_has() -> None:
    config = load(flags={"server.workers": "3"}, environment={})
    assert workers_of(config, 1, beside={0, 2, 7}).numbers == (1, 3, 4)
