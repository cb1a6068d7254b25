"""KServe's and MLServer's own clients, unchanged, each in its own environment, against both transports."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from oip_world import world
from running import Running
from tools import client_python, client_sees

pytestmark = pytest.mark.slow

CLIENTS = ("kserve", "mlserver")
EXPLICIT = ("--models-mode", "explicit", "--models-load", "*")


@pytest.fixture(scope="module", params=["h2", "grpcio"])
def gateway(request, tmp_path_factory) -> Iterator[Running]:
    for name in CLIENTS:
        client_python(name)
    with world(tmp_path_factory.mktemp("clients"), request.param, *EXPLICIT) as running:
        yield running


@pytest.fixture(scope="module")
def seen(gateway) -> dict[str, dict[str, object]]:
    """What each client told of its calls."""
    keys = gateway.key("tester", "lab"), gateway.key("nosy", "outside")
    return {name: client_sees(name, gateway.url, *keys) for name in CLIENTS}


@pytest.mark.parametrize("name", CLIENTS)
def test_health_and_metadata(seen, name):
    told = seen[name]
    assert (told["live"], told["ready"], told["model ready"], told["unknown ready"]) == (True, False, True, False)
    assert told["server"] == ["triton", True]
    assert told["model"] == ["simple", ["1"], "onnxruntime_onnx", [[-1, 16], [-1, 16]]]
    assert told["stranger"][0] == "UNAUTHENTICATED"


@pytest.mark.parametrize(("name", "least"), [("kserve", 25), ("mlserver", 24)])
def test_every_datatype_it_knows_raw_and_typed(seen, name, least):
    same = seen[name]["same"]
    assert len(same) == least
    assert [what for what, held in same.items() if not held] == []


@pytest.mark.parametrize(("name", "id_"), [("kserve", "k-1"), ("mlserver", "m-1")])
def test_ids_parameters_versions_and_requested_outputs(seen, name, id_):
    assert seen[name]["answer"] == [id_, "simple", "1", ["OUTPUT0"], 32]


@pytest.mark.parametrize("name", CLIENTS)
def test_errors_reach_it_as_statuses(seen, name):
    assert seen[name]["unknown"] == ["NOT_FOUND", "Request for unknown model: 'nobody' is not found"]
    assert seen[name]["wrong"][0] == "INVALID_ARGUMENT"
    assert seen[name]["denied"][0] == "PERMISSION_DENIED"


def test_every_answer_is_recorded_and_no_denial_is_tried_again(gateway, seen):
    rows = gateway.export()
    denied = [row for row in rows if row["principal"] == "nosy"]
    assert [row["decision"] for row in denied] == ["deny"] * len(CLIENTS)  # KServe's client retries UNAVAILABLE
    answered = [row for row in rows if row["action"] == "inference:infer" and row["outcome"] == "answered"]
    asked = sum(len(told["same"]) + 1 for told in seen.values())
    assert len(answered) == asked + 1  # MLServer's stream: answered, though its stub cannot read that


def test_mlserver_s_repository_calls_are_triton_s(seen):
    told = seen["mlserver"]
    assert {"simple", "versioned"} <= set(told["index"])
    assert (told["unload"], told["unloaded"], told["load"], told["loaded"]) == (["OK", ""], False, ["OK", ""], True)


def test_what_another_dialect_means_otherwise_ends_in_a_status(seen):
    assert seen["kserve"]["load"][0] == "UNIMPLEMENTED"  # its field 1 is our repository_name
    assert seen["mlserver"]["apart"][0] == "UNIMPLEMENTED"  # a service of MLServer's own
    assert seen["mlserver"]["stream"][0] == "INTERNAL"  # raised by its stub, which expects MLServer's answer


ORDERS = ["import gateway.rpc.service, {}", "import {}, gateway.rpc.service"]


@pytest.mark.parametrize("script", ORDERS)
@pytest.mark.parametrize("name", CLIENTS)
def test_the_gateway_imports_beside_it_in_either_order(name, script):
    done = imported(name, script.format(name))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("before", ["", "import gateway.rpc.service, "])
def test_tritonclient_and_mlserver_exclude_each_other_with_us_or_without(before):
    done = imported("mlserver", f"{before or 'import '}tritonclient.grpc; print('imported'); import mlserver")
    assert done.stdout == "imported\n"
    assert "duplicate symbol 'inference.ServerLiveRequest'" in done.stderr


def imported(name: str, script: str) -> subprocess.CompletedProcess[str]:
    """How ``script`` ends in the environment of ``name``, where a warning is an error."""
    command = [client_python(name), "-W", "error", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
