"""What the client commands say when a gateway hides, warns, refuses, or is not there."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from running import ROOT, Running, start
from typer.testing import CliRunner, Result

from gateway.cli import build
from gateway.cli.connection import Target, diagnosis

APP = build()
ROW = [[0.0] * 30]


def command(*words: str) -> Result:
    """Run ``gateway`` in this process, which starts nothing."""
    return CliRunner().invoke(APP, words, env={"GATEWAY_URL": None, "GATEWAY_KEY": None, "COLUMNS": "160"})


@pytest.fixture(scope="module")
def gateway(tmp_path_factory) -> Iterator[Running]:
    """One whose callers see no metadata, and where denials for the model only warn in the tenant research."""
    home = tmp_path_factory.mktemp("endings")
    policies = home / "policies"
    shutil.copytree(ROOT / "policies", policies)
    for module in policies.rglob("*.rego"):
        if module.name.endswith("_test.rego"):
            module.unlink()
    (policies / "canaries.json").unlink()
    (policies / "mutate.allow").unlink(missing_ok=True)
    data = json.loads((policies / "data.json").read_text())
    data["roles"]["reader"].remove("metadata:model_metadata")
    (policies / "data.json").write_text(json.dumps(data))
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    entry = {"reason": "model", "mode": "warn", "owner": "tests", "until": until, "tenant": "research"}
    (home / "exceptions.json").write_text(json.dumps([entry]))
    running = start(home / "data", "--policy-exceptions", str(home / "exceptions.json"), policies=policies)
    yield running
    running.stop()


def asked(gateway: Running, tenant: str, model: str, value: str, *words: str) -> Result:
    key = gateway.key(f"app-{tenant}", tenant)
    return command("predict", model, "--input", value, "--url", gateway.url, "--key", key, *words)


def test_a_masked_output_is_marked(gateway):
    done = asked(gateway, "clinic", "breast-cancer", f"features:FP32={ROW}", "--json")
    assert done.exit_code == 0, done.stdout + done.stderr
    outputs = {row["name"]: row for row in json.loads(done.stdout)["outputs"]}
    assert outputs["probabilities"]["masked"] is True
    assert {row["masked"] for name, row in outputs.items() if name != "probabilities"} == {False}
    shown = asked(gateway, "clinic", "breast-cancer", f"features:FP32={ROW}").stdout
    assert [line for line in shown.splitlines() if "masked by policy" in line and "probabilities" in line]
    assert shown.count("masked by policy") == 1


def test_a_denial_that_only_warned_is_told(gateway):
    words = ("research", "diabetes", f"measurements:FP32={[[0.0] * 10]}")
    done = asked(gateway, *words, "--json")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["policy_warnings"] == ["model"]
    assert "policy warning: would be denied for model" in asked(gateway, *words).stdout
    assert "policy" not in json.loads(asked(gateway, "clinic", *words[1:], "--json").stdout)


def test_a_wrong_guess_without_metadata_is_told_and_so_is_the_decision(gateway):
    done = asked(gateway, "clinic", "diabetes", f"measurements={[[0] * 10]}")
    assert done.exit_code == 1
    assert "INVALID_ARGUMENT" in done.stderr
    assert "metadata denied, guessed INT64 for measurements" in done.stderr
    assert "--input measurements:FP32=" in done.stderr
    done = asked(gateway, "clinic", "diabetes", f"measurements:INT64={[[0] * 10]}", "--json")
    refusal = json.loads(done.stdout)
    assert refusal["error"]["code"] == "INVALID_ARGUMENT"
    assert "hint" not in refusal["error"]  # nothing was guessed
    assert refusal["decision_id"]


def test_a_missing_key_is_named(gateway):
    done = command("models", "--url", gateway.url)
    assert (done.exit_code, "set GATEWAY_KEY or give --key" in done.stderr) == (1, True)
    done = command("models", "--url", gateway.url, "--key", "wrong")
    assert (done.exit_code, "GATEWAY_KEY" in done.stderr) == (1, False)


@pytest.mark.parametrize("url", ["http://localhost:8001", "grpc://localhost:8001", "localhost"])
def test_an_address_is_host_and_port(url):
    done = command("probe", "--url", url)
    assert (done.exit_code, "write HOST:PORT" in done.stderr) == (2, True)


def test_a_certificate_that_is_not_there_is_wrong_usage(tmp_path: Path):
    assert command("probe", "--ca", str(tmp_path / "no.pem")).exit_code == 2


def test_nobody_at_the_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{held.getsockname()[1]}"
        done = command("probe", "--url", url)
        assert (done.exit_code, done.stderr) == (3, f"error: connection refused: is the gateway running at {url}?\n")
        told = json.loads(command("probe", "--url", url, "--json").stdout)
        assert told["error"]["code"] == "UNAVAILABLE"
        held.listen()
        done = command("probe", "--url", url, "--timeout", "0.3")
        assert (done.exit_code, f"no answer from {url} within 0.3 s" in done.stderr) == (3, True)


def test_tls_to_a_plain_port(gateway):
    done = command("probe", "--url", gateway.url, "--tls")
    assert (done.exit_code, "did not answer in TLS: leave out --tls" in done.stderr) == (3, True), done.stderr


def test_a_host_that_nobody_knows():
    done = command("probe", "--url", "gateway.invalid:8001")
    assert done.exit_code == 3
    assert "no such host: gateway.invalid:8001" in done.stderr


@pytest.mark.parametrize(
    ("tls", "grpc_said", "told"),
    [
        (True, "SSL_ERROR_SSL: error:100000f7: ... WRONG_VERSION_NUMBER: x", "h:1 did not answer in TLS: leave out"),
        (
            True,
            "error:1000007d:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: self signed certificate: OK",
            "the certificate of h:1 is not trusted (self signed certificate): give its authority with --ca PEM",
        ),
        (False, "last error: UNAVAILABLE: ipv4:127.0.0.1:1: Socket closed", "if it speaks TLS, add --tls or --ca PEM"),
        (True, "UNAUTHENTICATED: Hostname Verification Check failed.", "h:1 is for another host name"),
        (True, "something new", "no gateway answers at h:1: something new"),
    ],
)
def test_what_grpc_says_of_tls_is_said_in_the_words_of_options(tls: bool, grpc_said: str, told: str):
    assert told in diagnosis(Target(url="h:1", tls=tls), "UNAVAILABLE", grpc_said)
