"""What the policy tests share: queries to decide, the shipped bundle, and a real OPA server where there is one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.policy.bundle import Bundle
from gateway.policy.files import read_directory
from gateway.policy.pdp import Query
from gateway.types import (
    Action,
    Call,
    Context,
    Credentials,
    ModelFacts,
    ModelRef,
    Principal,
    ServableId,
    Tensor,
    TraceContext,
)

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "policies"

MakeQuery = Callable[..., Query]


def build_query(
    *,
    who: str = "intake-app",
    kind: str = "service",
    tenant: str = "clinic",
    groups: tuple[str, ...] = (),
    claims: dict[str, object] | None = None,
    group: str = "inference",
    name: str = "infer",
    model: str | None = "diabetes",
    batching: bool = True,
    shapes: tuple[tuple[int, ...], ...] = ((8, 10),),
    peer: str = "10.1.2.3",
    received_us: int = 1_795_000_000_000_000,
    received_ns: int = 1_000,
    deadline_ns: int | None = None,
    metadata: dict[str, str] | None = None,
    params: dict[str, bool | int | float | str] | None = None,
    labels: dict[str, str] | None = None,
    request_id: str = "",
) -> Query:
    context = Context(
        action=Action(group=group, name=name, service="inference.GRPCInferenceService", method="ModelInfer"),
        trace=TraceContext(trace_id="a" * 32, span_id="b" * 16),
        credentials=Credentials(authorization="Bearer very-secret-token"),
        received_us=received_us,
        received_ns=received_ns,
        deadline_ns=deadline_ns,
        peer=peer,
        metadata=metadata or {},
        size=100,
    )
    facts = None
    if model is not None:
        facts = ModelFacts(id=ServableId(model, "1", "sha256:00"), batching=batching, labels=labels or {})
    call = None
    if group == "inference":
        inputs = tuple(
            Tensor(name=f"x{n}", datatype="FP32", shape=shape, data=b"\xab" * 16) for n, shape in enumerate(shapes)
        )
        call = Call(
            context=context, model=ModelRef(model or ""), inputs=inputs, parameters=params or {}, request_id=request_id
        )
    return Query(
        principal=Principal(
            id=who, kind=kind, tenant=tenant, groups=groups, auth="api_key", credential="abcd", claims=claims or {}
        ),
        context=context,
        model=facts,
        requested=model or "",
        call=call,
    )


@pytest.fixture(scope="session")
def make_query() -> MakeQuery:
    return build_query


@pytest.fixture(scope="session")
def shipped() -> Bundle:
    return Bundle.linted(read_directory(SHIPPED))


@pytest.fixture(scope="session")
def opa_binary() -> str:
    found = shutil.which("opa") or shutil.which("opa", path=str(ROOT / ".tools" / "bin"))
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("opa is missing; run deploy/install-tools.sh")
        pytest.skip("opa is not installed; deploy/install-tools.sh installs it")
    return found


def accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.fixture(scope="session")
def start_opa(opa_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Starts OPA servers on Unix sockets with a bundle directory; all are ended with the session."""
    running: list[subprocess.Popen[bytes]] = []

    def start(bundle: Path) -> str:
        address = tmp_path_factory.mktemp("opa") / "opa.sock"
        command = [opa_binary, "run", "--server", "--addr", f"unix://{address}", "--disable-telemetry"]
        process = subprocess.Popen(
            [*command, "--log-level", "error", "-b", str(bundle)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        running.append(process)
        until = time.monotonic() + 20
        while not accepts(address):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"opa did not start: {process.stderr.read().decode() if process.stderr else ''}")
            time.sleep(0.02)
        return f"unix://{address}"

    yield start
    for process in running:
        process.terminate()
        process.wait(10)
        if process.stderr:
            process.stderr.close()
