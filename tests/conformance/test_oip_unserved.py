"""Kinds of models that Triton has and this gateway has not: every call says so, in a status of its own."""

from __future__ import annotations

import queue
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from oip_world import policies, repository
from running import Running, start
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.slow

STEP = 'step [ { model_name: "id_FP32" input_map { key: "x" value: "x" } output_map { key: "y" value: "y" } } ]'
CONFIGS = {
    "ensemble": ('platform: "ensemble" ensemble_scheduling { ' + STEP + " }", "ensemble_scheduling"),
    "sequence": ("sequence_batching { }", "sequence_batching"),
    "decoupled": ("model_transaction_policy { decoupled: true }", "model_transaction_policy.decoupled"),
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("unserved")
    models = repository(folder / "models")
    for name, (config, _) in CONFIGS.items():
        shutil.copytree(models / "id_FP32", models / name)
        (models / name / "config.pbtxt").write_text(config)
    shutil.rmtree(models / "ensemble" / "1")  # an ensemble has no file, and often an empty version
    (models / "ensemble" / "1").mkdir()
    running = start(folder / "data", models=models, policies=policies(folder / "policies", *CONFIGS))
    yield running
    running.stop()


@pytest.fixture
def client(gateway):
    with triton.InferenceServerClient(gateway.url) as client:
        yield client


@pytest.fixture(scope="module")
def headers(gateway):
    return {"authorization": f"Bearer {gateway.key('tester', 'lab')}"}


def tensor() -> triton.InferInput:
    made = triton.InferInput("x", [1, 2], "FP32")
    made.set_data_from_numpy(np.ones((1, 2), np.float32))
    return made


@pytest.mark.parametrize("name", CONFIGS)
def test_every_call_says_what_is_not_served(client, headers, name):
    text = f"model '{name}' cannot be served: the configuration asks for {CONFIGS[name][1]}, which is not served here"
    sequence = {"sequence_id": 7, "sequence_start": True}
    for call in (
        lambda: client.infer(name, [tensor()], headers=headers),
        lambda: client.infer(name, [tensor()], headers=headers, **sequence),
        lambda: client.get_model_metadata(name, headers=headers),
        lambda: client.get_model_config(name, headers=headers),
    ):
        with pytest.raises(InferenceServerException) as refused:
            call()
        assert (refused.value.status(), refused.value.message()) == ("StatusCode.UNIMPLEMENTED", text)
    assert not client.is_model_ready(name, headers=headers)
    (row,) = [row for row in client.get_model_repository_index(headers=headers).models if row.name == name]
    assert (row.state, row.reason in text) == ("UNAVAILABLE", True)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_stream_says_it_and_goes_on(client, headers, name):
    answers: queue.Queue[tuple[triton.InferResult | None, InferenceServerException | None]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
    client.async_stream_infer(name, [tensor()])
    client.async_stream_infer("id_FP32", [tensor()])
    (_, error), (result, _) = answers.get(timeout=20), answers.get(timeout=20)
    client.stop_stream()
    assert f"asks for {CONFIGS[name][1]}, which is not served here" in str(error)
    assert result is not None


def test_every_refusal_is_recorded(gateway, client, headers):
    with pytest.raises(InferenceServerException):
        client.infer("decoupled", [tensor()], headers=headers, request_id="d-1")
    rows = [row for row in gateway.export() if "decoupled" in (row["model"], row["asked"])]
    codes = {row["code"] for row in rows if row["action"] == "inference:infer" and row["outcome"] == "refused"}
    assert codes == {"UNIMPLEMENTED"}, rows
