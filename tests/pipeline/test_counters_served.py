"""Rates and quotas at a running gateway of two workers: not multiplied by them, and not forgotten by a restart."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc.service_pb2 as pb
import tritonclient.grpc.service_pb2_grpc as stubs
from running import Running, start

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

required := {"tenant", "rate", "quota"}

proven contains "tenant" if input.subject.tenant == "clinic"

proven contains "rate" if "rate_limit" in promised

proven contains "quota" if "quota" in promised

promised contains o.type if some o in obligations

reasons contains {"code": c} if some c in required - proven

obligations contains {"type": "rate_limit", "key": "clinic", "rps": 0.001, "burst": 12}

obligations contains {"type": "quota", "key": input.model.name, "limit": limit, "window": "month"} if {
	limit := {"diabetes": 5, "digits": 100}[input.model.name]
}
"""
INPUTS = {"diabetes": ("measurements", (1, 10)), "digits": ("image", (1, 8, 8))}


def ask(gateway: Running, model: str, calls: int) -> list[grpc.RpcError | None]:
    """The errors of ``calls`` predictions, each on a connection of its own, so that every worker gets some."""
    name, shape = INPUTS[model]
    request = pb.ModelInferRequest(model_name=model, raw_input_contents=[np.zeros(shape, np.float32).tobytes()])
    request.inputs.add(name=name, datatype="FP32", shape=shape)
    metadata = (("x-api-key", gateway.key("app", "clinic")),)
    errors: list[grpc.RpcError | None] = []
    for n in range(calls):
        own = [("grpc.use_local_subchannel_pool", 1), ("grpc.primary_user_agent", f"caller-{n}")]
        with grpc.insecure_channel(gateway.url, own) as channel:
            try:
                stubs.GRPCInferenceServiceStub(channel).ModelInfer(request, metadata=metadata, timeout=10)
                errors.append(None)
            except grpc.RpcError as error:
                errors.append(error)
    return errors


@pytest.mark.slow
def test_workers_share_rates_and_quotas_and_a_restart_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/authz.rego").write_text(POLICY)
    first = start(tmp_path / "data", "--workers", "2", policies=tmp_path / "policies")
    try:
        quota = ask(first, "diabetes", 20)
        rate = ask(first, "digits", 20)
    finally:
        assert first.stop() == 0
    assert [error is None for error in quota] == [True] * 5 + [False] * 15, quota
    assert [error is None for error in rate] == [True] * 7 + [False] * 13, rate  # 12, less the 5 above
    for error in filter(None, quota + rate):
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"]) > 0
    rows = first.export()
    assert len({str(row["prediction_id"]).split("/")[0] for row in rows}) == 2  # both workers were asked
    assert [row["outcome"] for row in rows].count("answered") == 12

    second = start(tmp_path / "data", "--workers", "2", policies=tmp_path / "policies")
    try:
        again = ask(second, "diabetes", 3)
        other = ask(second, "digits", 3)
    finally:
        assert second.stop() == 0
    assert all(again)
    assert all(other)
