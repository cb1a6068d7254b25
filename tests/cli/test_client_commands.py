"""``gateway predict``, ``models`` and ``probe`` against a real gateway: answers, denials, exit statuses."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from running import ROOT, Running, start
from typer.testing import CliRunner, Result

from gateway import __version__
from gateway.cli import build

APP = build()


def command(*words: str) -> Result:
    """Run ``gateway`` in this process, which starts nothing."""
    return CliRunner().invoke(APP, words, env={"GATEWAY_URL": None, "GATEWAY_KEY": None, "COLUMNS": "120"})


@pytest.fixture(scope="module")
def gateway(tmp_path_factory) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("client") / "data")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def to(gateway):
    """Options that name the gateway and a caller of the clinic."""
    return ("--url", gateway.url, "--key", gateway.key("screening-app", "clinic"))


def said(*words: str) -> dict[str, object]:
    done = command(*words, "--json")
    assert done.exit_code == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def test_a_prediction_from_json_with_what_may_be_quoted(gateway, to):
    answer = said("predict", "diabetes", "--input", f"measurements={[0.0] * 10}", *to)
    (output,) = answer["outputs"]
    assert (answer["model"], answer["version"], output["name"], output["shape"]) == (
        "diabetes",
        "1",
        "progression",
        [1, 1],
    )
    assert isinstance(output["data"][0][0], float)
    shown = command("ledger", "show", str(answer["prediction_id"]), "--data", str(gateway.data))
    assert answer["decision_id"] in shown.stdout


def test_a_prediction_from_a_file_is_the_same(to, tmp_path: Path):
    rows = np.random.default_rng(1).standard_normal((3, 10)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    from_file = said("predict", "diabetes", "--input", f"measurements=@{tmp_path / 'rows.npy'}", *to)
    typed = said("predict", "diabetes", "--input", f"measurements:FP32={rows.tolist()}", "--version", "1", *to)
    assert from_file["outputs"] == typed["outputs"]


def test_text_goes_in_and_comes_out(gateway):
    key = gateway.key("lab", "research")
    answer = said("predict", "sentiment", "--input", 'text=[["good"]]', "--url", gateway.url, "--key", key)
    assert answer["outputs"]


def test_a_table_for_people(to):
    done = command("predict", "diabetes", "--input", f"measurements={[[0.0] * 10]}", *to)
    assert done.exit_code == 0
    assert "progression" in done.stdout
    assert "prediction id" in done.stdout


def test_a_denial_says_code_and_reasons_and_fails(gateway):
    key = gateway.key("lab", "research")
    words = ("predict", "diabetes", "--input", f"measurements:FP32={[[0.0] * 10]}", "--url", gateway.url, "--key", key)
    done = command(*words, "--json")
    assert done.exit_code == 1
    denial = json.loads(done.stdout)
    assert (denial["error"]["code"], denial["error"]["reasons"]) == ("PERMISSION_DENIED", ["model"])
    assert denial["decision_id"]
    done = command(*words)
    assert done.exit_code == 1
    assert "PERMISSION_DENIED denied by policy: model" in done.stderr
    assert "reason" not in done.stderr  # the message has named it
    asked = next(line for line in done.stderr.splitlines() if line.startswith("ask with: "))
    explained = command(*asked.removeprefix("ask with: gateway ").replace("DIR", str(gateway.data)).split(),
                        "--policies", str(ROOT / "policies"))  # fmt: skip
    assert (explained.exit_code, "model" in explained.stdout) == (0, True), explained.stderr


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("measurements", "is no input; write NAME=JSON"),
        ("measurements=[1,", "input measurements"),
        ("measurements=@missing.npy", "missing.npy"),
        ("measurements:FLOAT=[1]", "is no datatype"),
        ("measurements:INT8=[300]", "does not fit INT8"),
        ('measurements:FP32=["a"]', "does not fit FP32"),
    ],
)
def test_an_input_that_is_no_tensor_is_named(to, value, complaint):
    done = command("predict", "diabetes", "--input", value, *to)
    assert done.exit_code == 2
    assert complaint in done.stderr


def test_models_that_the_caller_may_see(to):
    rows = said("models", *to)
    assert {(row["name"], row["state"]) for row in rows} >= {("diabetes", "READY"), ("breast-cancer", "READY")}
    assert "diabetes" in command("models", *to).stdout


def test_probe_needs_no_credential_and_tells_by_its_status(gateway, to):
    assert command("probe", "--url", gateway.url).exit_code == 0
    assert said("probe", "--service", "diabetes", *to) == {"status": "SERVING"}
    done = command("probe", "--service", "nobody", *to)
    assert (done.exit_code, "NOT_FOUND" in done.stderr) == (1, True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        done = command("probe", "--url", f"127.0.0.1:{free.getsockname()[1]}", "--timeout", "1")
    assert done.exit_code == 3


@pytest.mark.parametrize("name", ["predict", "models", "probe"])
def test_help_has_an_example_and_the_exit_statuses(name):
    done = command(name, "--help")
    assert done.exit_code == 0
    assert "Example: gateway" in done.stdout
    assert "1 refused, 2 wrong usage or input, 3 gateway not reachable" in " ".join(done.stdout.split())


def test_the_version():
    done = command("--version")
    assert (done.exit_code, done.stdout.strip()) == (0, __version__)
