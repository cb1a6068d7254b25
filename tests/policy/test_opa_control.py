"""The control plane against a real OPA server, and the plain transport."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.errors import PolicyUnavailable
from gateway.policy.bundle import Bundle
from gateway.policy.canaries import parse
from gateway.policy.connections import Address
from gateway.policy.input import encode
from gateway.policy.opa_control import NotReady, OpaControl
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.samples import sample
from gateway.policy.schema import Gateway

SHIPPED = Path(__file__).parents[2] / "policies"


@pytest.fixture(scope="module")
def configured(opa_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """A server that polls its bundle from a directory served over HTTP, with a status plugin."""
    root = tmp_path_factory.mktemp("served")
    build = [opa_binary, "build", "-b", ".", "--ignore", "*_test.rego", "-r", "r3", "-o", str(root / "b.tar.gz")]
    subprocess.run(build, cwd=SHIPPED, check=True)
    web = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert web.stdout is not None
    port = web.stdout.readline().split("port ")[1].split()[0]
    (root / "opa.yaml").write_text(
        f"services: {{s: {{url: 'http://127.0.0.1:{port}'}}}}\n"
        "bundles: {authz: {service: s, resource: b.tar.gz, polling: {min_delay_seconds: 1, max_delay_seconds: 1}}}\n"
        "status: {prometheus: true}\n"
    )
    command = [opa_binary, "run", "--server", "--addr", f"unix://{root}/s", "--disable-telemetry", "-l", "error"]
    server = subprocess.Popen(
        [*command, "-c", str(root / "opa.yaml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 20
    while not (root / "s").exists() and time.monotonic() < until:
        time.sleep(0.02)
    yield Address.parse(f"unix://{root}/s")
    for process in (server, web):
        process.terminate()
        process.wait(10)
    web.stdout.close()


async def ready(control: OpaControl) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            await control.preflight()
        except (NotReady, PolicyUnavailable):
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


async def test_preflight_version_and_bundles(configured: Address) -> None:
    async with OpaControl(configured) as control:
        await ready(control)
        assert tuple(map(int, (await control.version()).split("."))) >= (1, 21, 3)
        (state,) = await control.bundles()
        assert (state.name, state.revision, state.activated, state.error) == ("authz", "r3", True, "")
        with pytest.raises(NotReady, match="signing keyid ''"):
            await control.preflight(keyids=frozenset({"gateway-2026"}))


async def test_the_plain_transport_answers_as_the_embedded_engine(configured: Address, shipped: Bundle) -> None:
    embedded = EmbeddedPoint(shipped, gateway=Gateway())
    async with OpaControl(configured) as control:
        await ready(control)
        for canary in parse(shipped.canaries):
            raw = encode(canary.document())
            verdict, revision = await control.ask(raw, 5.0)
            ours = embedded.ask(raw)
            assert verdict.allow == ours.allow
            assert {reason.code for reason in verdict.reasons} == {reason.code for reason in ours.reasons}
            assert revision == "authz@r3"


async def test_a_server_without_bundles_cannot_promise_signatures(start_opa: Callable[[Path], str]) -> None:
    async with OpaControl(Address.parse(start_opa(SHIPPED))) as control:
        with pytest.raises(NotReady, match=r"keyid|no bundle"):
            await control.preflight(keyids=frozenset({"k"}))


async def test_nobody_there(tmp_path: Path) -> None:
    async with OpaControl(Address.parse(f"unix://{tmp_path}/none")) as control:
        with pytest.raises(PolicyUnavailable):
            await control.version()
        with pytest.raises(PolicyUnavailable):
            await control.ask(encode(sample()), 1.0)
