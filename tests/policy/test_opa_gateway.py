"""A gateway beside a real OPA server means the same by signers, canaries, exceptions and cache as one without."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from running import Running, start

SHIPPED = Path(__file__).parents[2] / "policies"
PATIENCE_S = 60.0
OK = grpc.StatusCode.OK
DENIED = grpc.StatusCode.PERMISSION_DENIED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def eventually(check: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.1)
    return False


@dataclass
class Deployed:
    """A server that polls a signed bundle; ``publish`` replaces it."""

    folder: Path
    opa: str
    key: Path
    url: str = ""

    def publish(self, revision: str, rows: int = 32) -> None:
        """Sign the shipped policy with another bound on a clinic's batches."""
        source = self.folder / f"source-{revision}"
        shutil.copytree(SHIPPED, source)
        data = json.loads((source / "data.json").read_text())
        data["tenants"]["clinic"]["max_batch"] = rows
        (source / "data.json").write_text(json.dumps(data))
        (source / ".manifest").write_text(json.dumps({"roots": [""]}))
        draft, claims = self.folder / "draft.tar.gz", self.folder / "claims.json"
        claims.write_text('{"scope": "authz", "keyid": "k1"}')
        words = ["build", "-b", ".", "--ignore", "*_test.rego", "--ignore", "canaries.json", "-r", revision]
        signing = ["--signing-key", str(self.key), "--signing-alg", "ES256", "--claims-file", str(claims)]
        subprocess.run([self.opa, *words, *signing, "-o", str(draft)], cwd=source, check=True)
        draft.replace(self.folder / "served" / "b.tar.gz")


def pair(path: Path) -> str:
    """Write a private key; the public one as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture
def deployed(opa_binary: str, tmp_path: Path) -> Iterator[Deployed]:
    public = pair(tmp_path / "key.pem")
    (tmp_path / "signers.json").write_text(
        json.dumps({"scope": "authz", "keys": [{"keyid": "k1", "algorithm": "ES256", "public_pem": public}]})
    )
    (tmp_path / "served").mkdir()
    made = Deployed(tmp_path, opa_binary, tmp_path / "key.pem", f"unix://{tmp_path}/s")
    made.publish("r1")
    web = subprocess.Popen(
        [
            sys.executable,
            "-u",
            "-m",
            "http.server",
            "0",
            "--bind",
            "127.0.0.1",
            "--directory",
            str(tmp_path / "served"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert web.stdout is not None
    port = web.stdout.readline().split("port ")[1].split()[0]
    settings = {
        "services": {"s": {"url": f"http://127.0.0.1:{port}"}},
        "bundles": {
            "authz": {
                "service": "s",
                "resource": "b.tar.gz",
                "signing": {"keyid": "k1", "scope": "authz"},
                "polling": {"min_delay_seconds": 1, "max_delay_seconds": 1},
            }
        },
        "keys": {"k1": {"algorithm": "ES256", "key": public}},
        "status": {"prometheus": True},
    }
    (tmp_path / "opa.json").write_text(json.dumps(settings))
    command = [opa_binary, "run", "--server", "--addr", made.url, "--disable-telemetry", "-l", "error"]
    with (tmp_path / "opa.log").open("wb") as log:
        server = subprocess.Popen([*command, "-c", str(tmp_path / "opa.json")], stdout=log, stderr=log)
    assert eventually((tmp_path / "s").exists)
    yield made
    for process in (server, web):
        process.terminate()
        process.wait(10)
    web.stdout.close()


def predict(gateway: Running, rows: int) -> grpc.StatusCode:
    tensor = triton.InferInput("measurements", [rows, 10], "FP32")
    tensor.set_data_from_numpy(np.zeros((rows, 10), np.float32))
    key = gateway.key("screening-app", "clinic")
    with triton.InferenceServerClient(gateway.url) as client:
        try:
            client.infer("diabetes", [tensor], headers={"x-api-key": key}, client_timeout=10)
        except triton.InferenceServerException as error:
            return next(code for code in grpc.StatusCode if str(code) == error.status())
    return OK


def launch(deployed: Deployed, *options: str) -> Running:
    words = ["--engine", "opa", "--opa-url", deployed.url, "--policy-poll-s", "0.2", "--policy-opa-timeout-ms", "5000"]
    words += ["--policy-signers", str(deployed.folder / "signers.json")]
    return start(deployed.folder / "data", *words, *options)


def test_signed_vetted_softened_and_cached_as_the_embedded_engine_would(deployed: Deployed) -> None:
    exceptions = deployed.folder / "exceptions.json"
    exceptions.write_text("[]")
    gateway = launch(deployed, "--policy-opa-cache", "--policy-exceptions", str(exceptions))
    try:
        assert eventually(lambda: predict(gateway, 2) is OK), gateway.said()
        assert predict(gateway, 33) is DENIED
        stated = {"reason": "batch", "mode": "warn", "owner": "ann", "until": "2099-01-01T00:00:00Z"}
        exceptions.write_text(json.dumps([stated]))
        assert eventually(lambda: predict(gateway, 33) is OK), gateway.said()
        assert eventually(lambda: predict(gateway, 2) is OK and repeats(gateway) > 0), gateway.said()

        deployed.publish("r2", rows=1)  # not what the canaries in the policy directory say: it decides nothing
        assert eventually(lambda: predict(gateway, 2) is UNAVAILABLE), gateway.said()
        assert eventually(lambda: gateway.get("/readyz")[0] == 503)
        assert eventually(lambda: "policy.opa_not_ready" in gateway.said())
        deployed.publish("r3")
        assert eventually(lambda: predict(gateway, 2) is OK), gateway.said()
        assert eventually(lambda: gateway.get("/readyz")[0] == 200)
    finally:
        gateway.stop()
    rows = gateway.export()
    assert {row["policy_revision"] for row in rows if row["decision"] == "allow"} == {"authz@r1", "authz@r3"}


def repeats(gateway: Running) -> int:
    return sum(bool(row.get("cached")) for row in gateway.export())


def test_a_server_that_takes_another_key_decides_nothing(deployed: Deployed) -> None:
    other = pair(deployed.folder / "other.pem")
    (deployed.folder / "signers.json").write_text(
        json.dumps({"scope": "authz", "keys": [{"keyid": "k9", "algorithm": "ES256", "public_pem": other}]})
    )
    gateway = launch(deployed)
    try:
        assert predict(gateway, 2) is UNAVAILABLE
        assert eventually(lambda: "signing keyid 'k1', expected ['k9']" in gateway.said()), gateway.said()
    finally:
        gateway.stop()


def test_a_server_whose_source_went_away_is_too_stale_in_the_end(deployed: Deployed) -> None:
    gateway = launch(deployed, "--policy-max-staleness-s", "8")
    try:
        assert eventually(lambda: predict(gateway, 2) is OK), gateway.said()
        (deployed.folder / "served" / "b.tar.gz").unlink()
        assert eventually(lambda: predict(gateway, 2) is UNAVAILABLE), gateway.said()
        deployed.publish("r2")
        assert eventually(lambda: predict(gateway, 2) is OK), gateway.said()
    finally:
        gateway.stop()
