"""A policy that requires signed and approved models: nothing else runs, and a changed file is another model."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import tritonclient.grpc as triton
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from running import ROOT, Running, command, start

PATIENCE_S = 60.0


def eventually(check: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.1)
    return False


def outcome(gateway: Running) -> str:
    """ "ok", or what the caller reads."""
    tensor = triton.InferInput("measurements", [1, 10], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 10), np.float32))
    key = gateway.key("screening-app", "clinic")
    with triton.InferenceServerClient(gateway.url) as client:
        try:
            client.infer("diabetes", [tensor], headers={"x-api-key": key}, client_timeout=10)
        except triton.InferenceServerException as error:
            return str(error)
    return "ok"


def policies_that_require(folder: Path, *what: str) -> Path:
    """The shipped policies, with requirements for one model."""
    shutil.copytree(ROOT / "policies", folder)
    data = json.loads((folder / "data.json").read_text())
    data["models"]["diabetes"]["require"] = list(what)
    (folder / "data.json").write_text(json.dumps(data))
    (folder / "canaries.json").write_text('{"canaries": []}')
    for test in folder.rglob("*_test.rego"):
        test.unlink()
    return folder


def test_only_what_is_signed_and_approved_runs(tmp_path: Path) -> None:
    policies = policies_that_require(tmp_path / "policies", "signed_model", "approved_model")
    models, catalog, signers, key = (tmp_path / name for name in ("models", "catalog.json", "signers.json", "ann.pem"))
    shutil.copytree(ROOT / "examples/models/diabetes", models / "diabetes")
    file = models / "diabetes" / "1" / "model.onnx"
    private = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    signers.write_text(json.dumps({"keys": [{"keyid": "ann", "algorithm": "ES256", "public_pem": pem}]}))
    catalog.write_text('{"models": []}')

    options = ("--models-catalog", str(catalog), "--models-signers", str(signers), "--models-poll-s", "0.3")
    gateway = start(tmp_path / "data", *options, models=models, policies=policies)
    try:
        assert "requirement_unmet" in outcome(gateway)
        words = ("diabetes", str(file))
        signed = command("catalog", "sign", *words, "--key", str(key), "--keyid", "ann", "--catalog", str(catalog))
        assert signed.returncode == 0, signed.stderr
        assert command("catalog", "list", "--catalog", str(catalog), "--signers", str(signers)).returncode == 0
        assert eventually(lambda: "catalog.loaded" in gateway.said())
        assert "requirement_unmet" in outcome(gateway)  # signed, and approved by nobody
        assert command("catalog", "stage", *words, "approved", "--catalog", str(catalog)).returncode == 0
        assert eventually(lambda: outcome(gateway) == "ok"), gateway.said()

        tampered = onnx.load(file)
        tampered.doc_string = "the same graph, other bytes"
        onnx.save(tampered, tmp_path / "tampered.onnx")
        (tmp_path / "tampered.onnx").replace(file)
        assert eventually(lambda: "requirement_unmet" in outcome(gateway)), gateway.said()

        catalog.write_text("{")  # what cannot be read changes nothing
        assert eventually(lambda: "catalog.refused" in gateway.said())
        assert "requirement_unmet" in outcome(gateway)
    finally:
        gateway.stop()
    rows = gateway.export()
    ran = {row["model_digest"] for row in rows if row["code"] == "OK"}
    assert len(ran) == 1
    assert {row["model_digest"] for row in rows if row["decision"] == "allow"} > ran  # the other one never ran
