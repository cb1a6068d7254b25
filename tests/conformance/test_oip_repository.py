"""Loading and unloading with tritonclient, over two workers: what one was told, both do before it answers."""

from __future__ import annotations

import json
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
