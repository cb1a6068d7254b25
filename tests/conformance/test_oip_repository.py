"""Loading and unloading with tritonclient, over two workers: what one was told, both do before it answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from oip_world import world
from running import Running
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.slow

EXPLICIT = ("--models-mode", "explicit", "--models-load", "versioned", "--models-accept-files", "--workers", "2")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory) -> Iterator[Running]:
    with world(tmp_path_factory.mktemp("explicit"), "h2", *EXPLICIT) as running:
        yield running


@pytest.fixture(scope="module")
def headers(gateway):
    return {"authorization": f"Bearer {gateway.key('tester', 'lab')}"}


@pytest.fixture
def client(gateway):
    with triton.InferenceServerClient(gateway.url) as client:
        yield client


def infer(gateway: Running, headers: dict[str, str], model: str, datatype: str = "FP32"):
    """The answer for [1, 2] over a connection of its own, so that either worker may get it."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    tensor = triton.InferInput("x", [1, 2], datatype)
    tensor.set_data_from_numpy(np.array([[1, 2]], triton._utils.triton_to_np_dtype(datatype)))
    with triton.InferenceServerClient(gateway.url, channel_args=options) as client:
        return client.infer(model, [tensor], headers=headers).as_numpy("y").tolist()


def refused(call, *arguments, **options) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as error:
        call(*arguments, **options)
    return error.value.status(), error.value.message()


def rows(client, headers) -> dict[str, list[tuple[str, str, str]]]:
    found: dict[str, list[tuple[str, str, str]]] = {}
    for row in client.get_model_repository_index(headers=headers).models:
        found.setdefault(row.name, []).append((row.version, row.state, row.reason))
    return found


def test_only_what_was_named_is_served_at_the_start(gateway, client, headers):
    index = rows(client, headers)
    assert [(v, s) for v, s, _ in index["versioned"]] == [("1", "READY"), ("2", "READY")]
    assert index["id_UINT8"] == [("", "", "")]
    assert refused(infer, gateway, headers, "id_UINT8", "UINT8")[0] == "StatusCode.NOT_FOUND"


def test_load_and_unload_reach_every_worker_before_they_answer(gateway, client, headers):
    for _ in range(2):
        client.load_model("id_FP32", headers=headers)
        assert [infer(gateway, headers, "id_FP32") for _ in range(10)] == [[[1.0, 2.0]]] * 10
        client.unload_model("id_FP32", headers=headers)
        assert {refused(infer, gateway, headers, "id_FP32")[0] for _ in range(10)} == {"StatusCode.NOT_FOUND"}
        assert not client.is_model_ready("id_FP32", headers=headers)


def test_an_override_of_the_configuration_lasts_for_this_load(client, headers):
    client.load_model("simple", headers=headers)
    assert client.get_model_config("simple", headers=headers).config.max_batch_size == 8
    client.load_model("simple", config=json.dumps({"max_batch_size": "2"}), headers=headers)
    assert client.get_model_config("simple", headers=headers).config.max_batch_size == 2
    client.load_model("simple", headers=headers)
    assert client.get_model_config("simple", headers=headers).config.max_batch_size == 8


def test_files_that_come_with_the_request_are_served(gateway, client, headers, tmp_path_factory):
    graph = Path(gateway.data.parent / "models" / "id_FP32" / "1" / "model.onnx").read_bytes()
    client.load_model("sent", config="{}", files={"file:7/model.onnx": graph}, headers=headers)
    assert [(v, s) for v, s, _ in rows(client, headers)["sent"]] == [("7", "READY")]


@pytest.mark.parametrize("path", ["../x", "1/../../x", "/etc/x", "x", "1/", "1//x", "1/\0"])
def test_files_stay_where_they_belong(client, headers, path):
    files = {f"file:{path}": b"x"}
    status, text = refused(client.load_model, "sent2", config="{}", files=files, headers=headers)
    assert (status, text.split(":")[0]) == (
        "StatusCode.INTERNAL",
        "failed to load 'sent2', failed to poll from model repository",
    )


def test_a_load_that_fails_says_why_and_leaves_what_served(gateway, client, headers):
    status, text = refused(client.load_model, "broken", headers=headers)
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert text.startswith("load failed for model 'broken': version 1 is at UNAVAILABLE state: ")
    config = json.dumps({"max_batch_size": 4, "input": [{"name": "no", "data_type": "TYPE_FP32", "dims": [2]}]})
    status, text = refused(client.load_model, "versioned", config=config, headers=headers)
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert infer(gateway, headers, "versioned") == [[-1.0, -2.0]]
    assert [s for _, s, _ in rows(client, headers)["versioned"]] == ["READY", "READY"]


def test_requests_that_cannot_be_met_have_the_words_that_tests_match(client, headers):
    absent = "failed to load 'nobody', failed to poll from model repository"
    assert refused(client.load_model, "nobody", headers=headers) == ("StatusCode.INTERNAL", absent)
    status, text = refused(client.load_model, "simple", config="{", headers=headers)
    assert (status, text[:40]) == ("StatusCode.INTERNAL", "failed to load 'simple', failed to poll ")
    assert refused(client.load_model, " ", headers=headers) == (
        "StatusCode.INVALID_ARGUMENT",
        "Model name cannot be empty. Please enter a valid name to deploy.",
    )
    status, text = refused(client.load_model, "../simple", headers=headers)
    assert "model name must not contain path traversal characters" in text
    client.unload_model("nobody", headers=headers)


def test_who_may_not_change_the_repository_does_not(gateway, client):
    denied = {"authorization": f"Bearer {gateway.key('caller', 'guest')}"}
    assert refused(client.load_model, "simple", headers=denied)[0] == "StatusCode.PERMISSION_DENIED"
    assert refused(client.unload_model, "versioned", headers=denied)[0] == "StatusCode.PERMISSION_DENIED"


def test_changes_of_the_repository_are_recorded(gateway, client, headers):
    client.load_model("id_INT8", headers=headers)
    (row, *_) = [r for r in gateway.export() if r.get("asked") == "id_INT8"]
    assert (row["action"], row["principal"], row["outcome"]) == ("model-repository:load", "tester", "answered")


def test_in_another_mode_they_are_refused(tmp_path):
    with world(tmp_path / "poll", "h2") as other, triton.InferenceServerClient(other.url) as client:
        headers = {"authorization": f"Bearer {other.key('tester', 'lab')}"}
        refusal = ("StatusCode.UNAVAILABLE", "explicit model load / unload is not allowed if polling is enabled")
        assert refused(client.load_model, "simple", headers=headers) == refusal
        assert refused(client.unload_model, "simple", headers=headers) == refusal


def test_statistics_are_summed_over_workers_and_survive_one(tmp_path):
    with world(tmp_path / "two", "h2", "--workers", "2") as two:
        headers = {"authorization": f"Bearer {two.key('tester', 'lab')}"}
        for _ in range(12):
            infer(two, headers, "id_FP64", "FP64")
        assert eventually(lambda: counts(two, headers) == 12), counts(two, headers)
        assert eventually(lambda: published(two) == 12), published(two)
        killed = two.child("gateway: worker 0")
        killed.kill()
        killed.wait(10)  # until then its socket may still take a connection, and drop it
        assert eventually(lambda: counts(two, headers) == 12)
        infer(two, headers, "id_FP64", "FP64")
        assert eventually(lambda: counts(two, headers) == 13)


def published(gateway: Running) -> int:
    """Successful calls of id_FP64 that the workers have told each other of."""
    told = [json.loads(path.read_bytes()) for path in (gateway.data / "state").glob("statistics.*")]
    rows = [row for worker in told for row in worker["rows"] if row["name"] == "id_FP64"]
    return sum(row["success"]["count"] for row in rows)


def counts(gateway: Running, headers: dict[str, str]) -> int:
    """Successful calls of id_FP64; -1 where the connection belonged to a worker that died."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    try:
        with triton.InferenceServerClient(gateway.url, channel_args=options) as client:
            (row,) = client.get_inference_statistics("id_FP64", headers=headers).model_stats
    except InferenceServerException:
        return -1
    return row.inference_stats.success.count


def eventually(check) -> bool:
    end = time.monotonic() + 15
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.1)
    return False
