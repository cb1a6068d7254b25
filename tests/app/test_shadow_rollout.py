"""A candidate policy at a running gateway: it decides along, changes no answer, and is replaced while calls go on."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from running import ROOT, Running, command, start

from gateway.ledger.events import decode
from gateway.ledger.reader import ShardReader
from gateway.policy.shadow_report import ShadowReport, read_report

PATIENCE_S = 60.0


def eventually(check: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.1)
    return False


def predict(gateway: Running, rows: int) -> bool:
    tensor = triton.InferInput("measurements", [rows, 10], "FP32")
    tensor.set_data_from_numpy(np.zeros((rows, 10), np.float32))
    key = gateway.key("screening-app", "clinic")
    with triton.InferenceServerClient(gateway.url) as client:
        try:
            client.infer("diabetes", [tensor], headers={"x-api-key": key}, client_timeout=10)
        except triton.InferenceServerException as error:
            if "batch" in str(error):
                return False
            raise
    return True


def candidate(folder: Path, rows: int) -> None:
    """The shipped policy with another bound on a clinic's batches, complete at once as an operator's rename is."""
    draft = folder.with_suffix(".new")
    shutil.copytree(ROOT / "policies", draft)
    data = json.loads((draft / "data.json").read_text())
    data["tenants"]["clinic"]["max_batch"] = rows
    (draft / "data.json").write_text(json.dumps(data))
    (draft / "canaries.json").write_text('{"canaries": []}')
    for test in draft.rglob("*_test.rego"):
        test.unlink()
    if folder.exists():
        folder.rename(folder.with_suffix(f".old{time.monotonic_ns()}"))
    draft.rename(folder)


def shown(gateway: Running) -> ShadowReport:
    return read_report(gateway.data / "observer") or ShadowReport()


def events(gateway: Running) -> list[tuple[str, Mapping[str, object]]]:
    reader = ShardReader(gateway.data / "governance", "gov")
    found = [decode(leaf) for _, leaf in reader.read(0)]
    reader.close()
    return [(event.kind, event.fields) for event in found if event.kind.startswith("policy_shadow")]


def test_a_candidate_is_counted_replaced_and_ended_and_no_answer_changes(tmp_path: Path) -> None:
    folder = tmp_path / "next"
    candidate(folder, 4)
    gateway = start(tmp_path / "data", "--policy-shadow", str(folder))
    try:
        assert eventually(lambda: shown(gateway).active), gateway.said()
        strict = shown(gateway).digest
        assert [predict(gateway, rows) for rows in (8, 2, 8, 33)] == [True, True, True, False]
        assert eventually(lambda: shown(gateway).compared == 4), (shown(gateway), gateway.said())
        assert shown(gateway).changes == {"allow_to_deny": 2}
        assert shown(gateway).coverage == 1.0
        page = gateway.get("/metrics")[1]
        assert 'gateway_policy_shadow_changes{revision="' in page
        assert any('kind="allow_to_deny"} 2' in line for line in page.splitlines())
        assert any('result="compared"} 4' in line for line in page.splitlines())

        candidate(folder, 64)  # swapped while the gateway runs
        assert eventually(lambda: shown(gateway).digest not in ("", strict)), gateway.said()
        assert predict(gateway, 33) is False
        assert eventually(lambda: shown(gateway).changes == {"deny_to_allow": 1}), (shown(gateway), gateway.said())
        said = command("policy", "shadow", "--data", str(gateway.data))
        assert said.returncode == 1
        assert "1 of 1 decisions compared (100.0 %)" in said.stdout.splitlines()[0]

        (folder / "gateway" / "authz" / "decision.rego").write_text("package gateway.authz\n\nno {")
        assert eventually(lambda: bool(shown(gateway).refused)), gateway.said()
        assert shown(gateway).compared == 1  # the last good candidate stays, with what it counted
        assert eventually(lambda: "policy.shadow_refused" in gateway.said()), gateway.said()
    finally:
        gateway.stop()

    again = start(tmp_path / "data")  # no candidate is configured any more
    try:
        assert eventually(lambda: command("policy", "shadow", "--data", str(again.data)).returncode == 2)
    finally:
        again.stop()
    kinds = [kind for kind, _ in events(again)]
    assert kinds == ["policy_shadow_started", "policy_shadow_ended"] * 2
    (first, second) = (fields for kind, fields in events(again) if kind == "policy_shadow_ended")
    assert (first["compared"], first["changed_allow_to_deny"]) == (4, 2)
    assert (second["compared"], second["changed_deny_to_allow"]) == (1, 1)
