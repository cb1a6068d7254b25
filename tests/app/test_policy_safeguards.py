"""Emergency grants, staleness, verified caching and full inputs at a running gateway."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import tritonclient.grpc as triton
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from running import ROOT, Running, command, start

from gateway.cli.policy_recorded import recorded
from gateway.ledger.events import decode
from gateway.ledger.reader import ShardReader

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


def predict(gateway: Running, rows: int) -> grpc.StatusCode:
    """The status of one prediction by the same principal."""
    tensor = triton.InferInput("measurements", [rows, 10], "FP32")
    tensor.set_data_from_numpy(np.zeros((rows, 10), np.float32))
    key = gateway.key("screening-app", "clinic")
    with triton.InferenceServerClient(gateway.url) as client:
        try:
            client.infer("diabetes", [tensor], headers={"x-api-key": key}, client_timeout=10)
        except triton.InferenceServerException as error:
            return next(code for code in grpc.StatusCode if str(code) == error.status())
    return OK


def signer(folder: Path, name: str) -> tuple[Path, dict[str, str]]:
    """A private key file, and the public entry of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    path = folder / f"{name}.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return path, {"keyid": name, "algorithm": "ES256", "public_pem": pem}


def ran(*words: str) -> str:
    done = command(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def governance(gateway: Running, kind: str) -> list[tuple[str, dict[str, object]]]:
    reader = ShardReader(gateway.data / "governance", "gov")
    found = [decode(leaf) for _, leaf in reader.read(0)]
    reader.close()
    return [(event.reason, dict(event.fields)) for event in found if event.kind == kind]


def test_two_people_break_the_glass_for_one_caller_and_everybody_sees_it(tmp_path: Path) -> None:
    (ann, ann_key), (bob, bob_key) = signer(tmp_path, "ann"), signer(tmp_path, "bob")
    signers = tmp_path / "signers.json"
    signers.write_text(json.dumps({"signatures": 2, "keys": [ann_key, bob_key]}))
    gateway = start(tmp_path / "data", "--policy-break-glass", str(signers), "--policy-cache-verify", "1")
    try:
        assert predict(gateway, 33) is DENIED
        who = ["--subject", "screening-app", "--tenant", "clinic", "--model", "diabetes", "--reason", "batch"]
        one = ran("policy", "grant", "sign", "--key", str(ann), "--keyid", "ann", *who, "--why", "incident 7")
        grant = tmp_path / "grant.jwt"
        grant.write_text(one)
        place = ("policy", "grant", "use", str(grant), "--signers", str(signers), "--data", str(gateway.data))
        refused = command(*place)
        assert (refused.returncode, "2 are needed" in refused.stderr) == (1, True)
        grant.write_text(ran("policy", "grant", "cosign", str(grant), "--key", str(bob), "--keyid", "bob"))
        name = ran(*place).split()[0]

        assert eventually(lambda: predict(gateway, 33) is OK), gateway.said()
        assert eventually(lambda: "gateway_policy_breakglass_active 1\n" in gateway.get("/metrics")[1])
        assert eventually(lambda: "policy.break_glass_used" in gateway.said()), gateway.said()
        row = gateway.export()[-1]
        assert (row["decision"], row["code"]) == ("deny", "OK"), row
        assert row["reasons"] == ["batch", "break_glass"]

        assert name in ran("policy", "grant", "list", "--signers", str(signers), "--data", str(gateway.data))
        ran("policy", "grant", "revoke", name, "--data", str(gateway.data))
        assert eventually(lambda: predict(gateway, 33) is DENIED), gateway.said()
        assert eventually(lambda: len(governance(gateway, "break_glass")) == 2)
        (why, begun), (_, ended) = governance(gateway, "break_glass")
        assert (why, begun["state"], begun["signers"], ended["state"]) == (
            *("incident 7", "begun", ("ann", "bob")),
            "revoked",
        )
        assert eventually(lambda: "gateway_policy_breakglass_active 0\n" in gateway.get("/metrics")[1])

        assert [predict(gateway, 2) for _ in range(4)] == [OK] * 4
        assert "cache_mismatch" not in gateway.said()
    finally:
        gateway.stop()
    repeated = [row for row in gateway.export() if row["decision"] == "allow"]
    assert len(repeated) == 4
    assert not any(row.get("cached") for row in repeated)  # each hit was decided again, and compared


def test_two_workers_keep_one_rate(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies)
    data = json.loads((policies / "data.json").read_text())
    data["tenants"]["clinic"]["rate"] = {"rps": 0.001, "burst": 5}
    (policies / "data.json").write_text(json.dumps(data))
    (policies / "canaries.json").write_text('{"canaries": []}')
    (policies / "gateway" / "authz" / "authz_test.rego").unlink()
    gateway = start(tmp_path / "data", "--workers", "2", policies=policies)
    try:
        said = [predict(gateway, 1) for _ in range(40)]  # each on a connection of its own, to either worker
        assert (said.count(OK), said.count(grpc.StatusCode.RESOURCE_EXHAUSTED)) == (5, 35)
    finally:
        gateway.stop()
    assert len({str(row["prediction_id"]).split("/")[0] for row in gateway.export()}) == 2


def test_a_policy_that_is_no_longer_confirmed_decides_nothing(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies)
    options = ("--policy-max-staleness-s", "6", "--policy-record-input", "full", "--policy-poll-s", "0.2")
    gateway = start(tmp_path / "data", *options, policies=policies)
    rule = policies / "gateway" / "authz" / "decision.rego"
    good = rule.read_text()
    try:
        assert [predict(gateway, 2) for _ in range(2)] == [OK] * 2
        rule.write_text("package gateway.authz\n\nno {")
        assert eventually(lambda: predict(gateway, 2) is UNAVAILABLE), gateway.said()
        assert eventually(lambda: gateway.get("/readyz")[0] == 503)
        assert eventually(lambda: "policy.stale" in gateway.said()), gateway.said()
        rule.write_text(good)
        assert eventually(lambda: predict(gateway, 2) is OK), gateway.said()
        assert eventually(lambda: gateway.get("/readyz")[0] == 200), gateway.get("/readyz?verbose")
    finally:
        gateway.stop()
    checks = [str(fields["checks"]) for _, fields in governance(gateway, "policy_loaded")]
    assert re.fullmatch(r"[1-9]\d* tests, [1-9]\d* canaries, 0 warnings", checks[0])
    shown = command("policy", "history", "--data", str(gateway.data)).stdout
    assert f"by {policies.owner()}" in shown
    assert checks[0] in shown
    kept = [json.loads(text) for record, text in recorded(gateway.data) if record.allow and isinstance(text, bytes)]
    assert len(kept) == sum(row["decision"] == "allow" for row in gateway.export())  # none is a repeat
    assert all({"gateway", "shared_memory", "settings"} <= document.keys() for document in kept)
