"""Whose data a call holds: named by the caller, found by a keyed digest, erased for good. At a running gateway."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc.service_pb2 as pb
import tritonclient.grpc.service_pb2_grpc as stubs
from running import Running, start
from typer.testing import CliRunner

from gateway.cli.ledger import app
from gateway.ledger.errors import KeyMissing
from gateway.ledger.payload_keys import FileKeys
from gateway.ledger.reader import ShardReader
from gateway.ledger.vault import Vault

POLICY = """# METADATA
# scope: package
# entrypoint: true
package gateway.authz

import rego.v1

default decision := {"v": 1, "allow": false, "reasons": [{"code": "policy_undefined"}], "obligations": []}

decision := {"v": 1, "allow": allow, "reasons": reasons, "obligations": obligations}

default allow := false

allow if {
	count(required) > 0
	count(required - proven) == 0
}

required := {"tenant"}

proven contains "tenant" if input.subject.tenant == "clinic"

reasons contains {"code": c} if some c in required - proven

obligations contains {"type": "log", "payload": "full"} if input.model.name == "diabetes"
"""
INPUTS = {"diabetes": ("measurements", (1, 10)), "digits": ("image", (1, 8, 8))}
ALICE, BOB = "patient-alice-7", "patient-bob-8"


def request(model: str, subject: str | int) -> pb.ModelInferRequest:
    name, shape = INPUTS[model]
    made = pb.ModelInferRequest(model_name=model, raw_input_contents=[np.full(shape, 0.25, np.float32).tobytes()])
    made.inputs.add(name=name, datatype="FP32", shape=shape)
    if isinstance(subject, int):
        made.parameters["gateway_subject"].int64_param = subject
    else:
        made.parameters["gateway_subject"].string_param = subject
    return made


def unary(gateway: Running, model: str, subject: str | int) -> str:
    """One prediction; its prediction id. Raises: grpc.RpcError."""
    metadata = (("x-api-key", gateway.key("app", "clinic")),)
    with grpc.insecure_channel(gateway.url) as channel:
        infer = stubs.GRPCInferenceServiceStub(channel).ModelInfer
        _, call = infer.with_call(request(model, subject), metadata=metadata, timeout=30)
        return str(dict(call.trailing_metadata())["gateway-prediction-id"])


def stream(gateway: Running, model: str, *subjects: str) -> list[str]:
    """One prediction a message."""
    metadata = (("x-api-key", gateway.key("app", "clinic")),)
    with grpc.insecure_channel(gateway.url) as channel:
        answers = stubs.GRPCInferenceServiceStub(channel).ModelStreamInfer(
            iter([request(model, subject) for subject in subjects]), metadata=metadata, timeout=30
        )
        return [a.infer_response.parameters["gateway_prediction_id"].string_param for a in answers]


def ledger(gateway: Running, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*words, "--data", str(gateway.data)])
    return done.exit_code, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["h2", "grpcio"])
def test_a_subject_is_erased_at_a_running_gateway(tmp_path: Path, transport: str) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/authz.rego").write_text(POLICY)
    gateway = start(tmp_path / "data", "--transport", transport, policies=tmp_path / "policies")
    try:
        hers = [unary(gateway, "diabetes", ALICE), unary(gateway, "digits", ALICE)]
        hers += stream(gateway, "diabetes", ALICE, BOB)[:1]
        his = [unary(gateway, "diabetes", BOB), unary(gateway, "digits", BOB)]
        for bad in ("", 7, "x" * 1_025):
            with pytest.raises(grpc.RpcError, match="gateway_subject") as refused:
                unary(gateway, "diabetes", bad)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        for place in (*hers, *his):
            assert ledger(gateway, "payload", place, "--check")[0] == 0
        copy = tmp_path / "copy"
        (copy / "gw.0").mkdir(parents=True)
        for path in (gateway.data / "ledger" / "gw.0").glob("0*"):  # the segment and its log
            shutil.copy(path, copy / "gw.0")

        erase = ("erase", "--tenant", "clinic", "--reason", "ticket 4711", "--json", "--subject")
        status, said = ledger(gateway, *erase, ALICE)
        assert status == 0, said
        assert json.loads(said)[0]["count"] == 3
        for place in hers:
            status, said = ledger(gateway, "payload", place)
            assert (status, "ticket 4711" in said) == (2, True), said
            assert "ticket 4711" in json.loads(ledger(gateway, "show", place)[1])["contents"]
        for place in his:
            assert ledger(gateway, "payload", place, "--check")[0] == 0
            assert json.loads(ledger(gateway, "show", place)[1])["contents"] == "kept"
        decision = next(row["decision_id"] for row in gateway.export() if row["prediction_id"] == his[0])
        assert json.loads(ledger(gateway, "show", str(decision))[1])["prediction_id"] == his[0]

        vault, reader = Vault(FileKeys(gateway.data / "keys" / "payload")), ShardReader(copy, "gw.0")
        before = reader.payload(int(hers[0].partition("/")[2]))
        reader.close()
        assert before is not None
        with pytest.raises(KeyMissing, match="its payloads were erased"):  # copies made before the erasure, too
            vault.open(before, hers[0], "clinic")
        assert ledger(gateway, "verify", "--payloads")[0] == 0
        assert (
            ledger(gateway, "payload", unary(gateway, "diabetes", ALICE), "--check")[0] == 0
        )  # she is a customer again
    finally:
        assert gateway.stop() == 0
    assert ledger(gateway, "verify", "--payloads")[0] == 0
    for path in (*gateway.data.rglob("*"), gateway.log):
        if path.is_file():
            assert ALICE.encode() not in path.read_bytes(), path
