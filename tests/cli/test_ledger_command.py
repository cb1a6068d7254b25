"""``gateway ledger`` as its users type it."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.ledger import app
from gateway.ledger import leaf as leaves
from gateway.ledger import record
from gateway.ledger.record import Record
from gateway.ledger.shard import ShardLedger

CONTRACT = [
    *("prediction_id", "time", "principal", "tenant", "action", "model", "version", "model_digest", "decision"),
    *("reasons", "policy_revision", "outcome", "code", "trace_id", "span_id"),
]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with twelve calls of shard gw.0, one of them denied."""

    async def fill() -> None:
        ledger = await ShardLedger.open(tmp_path / "ledger", "gw.0", boot={}, clock_us=lambda: 1_795_000_000_000_000)

        def encode(shard: str, seq: int) -> bytes:
            denied = seq == 5
            return leaves.encode(
                Record(
                    v=1,
                    kind="call",
                    shard=shard,
                    seq=seq,
                    t_us=1_795_000_000_000_000 + seq,
                    tenant="acme",
                    principal="app",
                    method="/inference.GRPCInferenceService/ModelInfer",
                    action="infer:ModelInfer",
                    model="credit",
                    version="3",
                    model_sha="ab" * 32,
                    decision_id="cd" * 16,
                    allow=not denied,
                    reasons=("tenant.not_allowed",) if denied else (),
                    policy_rev="r1",
                    outcome="denied" if denied else "answered",
                    status="PERMISSION_DENIED" if denied else "OK",
                    trace="01" * 16,
                    span="02" * 8,
                )
            )

        for _ in range(12):
            await ledger.append(encode)
        await ledger.close()

    asyncio.run(fill())
    return tmp_path


def test_export_writes_what_outsiders_rely_on(data: Path) -> None:
    result = run("export", "--data", data, "--format", "jsonl")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert len(rows) == 12
    assert list(rows[0])[: len(CONTRACT) + 1] == [*CONTRACT[:2], "kind", *CONTRACT[2:]]
    assert rows[4] | {"x": 0} == rows[4] | {
        "prediction_id": "gw.0/5",
        "decision": "deny",
        "reasons": ["tenant.not_allowed"],
        "code": "PERMISSION_DENIED",
        "outcome": "denied",
        "model_digest": "ab" * 32,
        "policy_revision": "r1",
        "trace_id": "01" * 16,
        "x": 0,
    }
    assert rows[0]["time"] == "2026-11-18T11:06:40.000001Z"
    assert len(run("export", "--data", data, "--all").stdout.splitlines()) == 14
    out = data / "out.jsonl"
    assert run("export", "--data", data, "--out", out).exit_code == 0
    assert out.read_text() == result.stdout
    short = run("show", "gw.0/5", "--json", "--data", data).stdout
    assert json.loads(short)["leaf_hash"] == json.loads(run("show", "gw.0/5", "--data", data).stdout)["leaf_hash"]
    assert len(short.splitlines()) == 1
    raw = run("export", "--data", data, "--format", "raw").stdout.splitlines()
    assert record.decode(raw[0].encode()).prediction_id == "gw.0/1"


def test_show_and_tail(data: Path) -> None:
    shown = json.loads(run("show", "gw.0/5", "--data", data).stdout)
    assert (shown["prediction_id"], shown["outcome"], len(shown["leaf_hash"])) == ("gw.0/5", "denied", 64)
    assert run("show", "gw.0/5", "--raw", "--data", data).stdout.startswith(
        '{"v":1,"kind":"call","shard":"gw.0","seq":5'
    )
    lines = run("tail", "-n", 3, "--data", data).stdout.splitlines()
    assert [line.split()[2] for line in lines] == ["gw.0/10", "gw.0/11", "gw.0/12"]
    assert json.loads(run("tail", "-n", 1, "--all", "--json", "--data", data).stdout)["kind"] == "shutdown"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("show", "gw.0/99"), "has 14 records and not this one"),
        (("show", f"gw.0/{'9' * 25}"), "has 14 records and not this one"),
        (("prove", f"gw.0/{'9' * 25}"), "has 14 records and not this one"),
        (("payload", f"gw.0/{'9' * 25}"), "has 14 records and not this one"),
        (("erase", "--id", f"gw.0/{'9' * 25}", "--reason", "r"), "has 14 records and not this one"),
        (("show", "gw.7/1"), "there is no shard 'gw.7'"),
        (("show", "nonsense"), "is no prediction id"),
        (("prove", "gw.0/99"), "has 14 records and not this one"),
        (("consistency", "gw.0", 3, 99), "has 14 records, 99 were asked for"),
        (("verify", "--shard", "gw.7"), "there is no shard 'gw.7'"),
        (("verify", "--from", __file__), "test_ledger_command.py is no signed head"),
        (("verify", "--keyring", "none"), "there is no keyring none"),
        (("verify", "--proof", "none"), "none: No such file or directory"),
        (("verify", "--proof", __file__, "--keyring", "none"), "there is no keyring none"),
        (("export", "--shard", "gw.7"), "there is no shard 'gw.7'"),
        (("export", "--since", "2026-11-01"), "choose what goes into a package"),
        (("erase", "--id", "gw.0/99", "--reason", "r"), "has 14 records and not this one"),
        (("erase", "--subject", "alice", "--reason", "r"), "say with --tenant whose 'alice' it is"),
    ],
)
def test_mistakes_are_one_clear_line(data: Path, arguments: tuple[object, ...], expected: str) -> None:
    (data / "ledger" / "keyring").touch()
    result = run(*arguments, "--data", data)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (data / "governance").exists(), "a mistake was recorded as if it had been done"


@pytest.mark.parametrize("command", ["verify", "export", "tail"])
def test_no_ledger_is_said(tmp_path: Path, command: str) -> None:
    result = run(command, "--data", tmp_path / "none")
    assert result.exit_code == 2
    assert "there is no ledger under" in result.stderr
    assert not (tmp_path / "none").exists()


def test_prove_and_verify_offline(data: Path, tmp_path: Path) -> None:
    receipt = tmp_path / "5.tlog-proof"
    assert run("prove", "gw.0/5", "--data", data, "--out", receipt).exit_code == 0
    assert run("prove", "gw.0/5", "--data", data).stdout == receipt.read_text()
    kept = tmp_path / "kept"
    kept.write_bytes((data / "ledger" / "keyring").read_bytes())
    held = run("verify", "--proof", receipt, "--keyring", kept)
    assert held.exit_code == 0
    assert "record 5 is in the log gateway-ledger/gw.0 of 14 records" in held.stdout
    assert json.loads(run("verify", "--proof", receipt, "--keyring", kept, "--json").stdout)["record"]["seq"] == 5
    text = receipt.read_text()
    receipt.write_text(text.replace("index 5", "index 6"))
    broken = run("verify", "--proof", receipt, "--keyring", kept)
    assert broken.exit_code == 1
    assert "NOT OK" in broken.stdout


def test_verify_tells_and_exits(data: Path) -> None:
    good = run("verify", "--data", data)
    assert good.exit_code == 0
    assert "OK: 14 of 14 records checked, 0 findings" in good.stdout
    assert json.loads(run("verify", "--data", data, "--json").stdout)["ok"] is True
    db = sqlite3.connect(next((data / "ledger" / "gw.0").glob("0*.db")), isolation_level=None)
    db.execute("DELETE FROM leaf WHERE seq=5")
    db.close()
    bad = run("verify", "--data", data)
    assert bad.exit_code == 1
    assert "MISSING(5) gw.0" in bad.stdout
    assert bad.stdout.endswith("records checked, 1 finding\n")
    assert json.loads(run("verify", "--data", data, "--json").stdout)["findings"][0]["verdict"] == "MISSING"


def test_signing_by_hand(data: Path) -> None:
    assert "gw.0: 14 records" in run("sign", "--data", data).stdout
    assert "(newest 14)" in " ".join(run("verify", "--data", data).stdout.split())


def test_erase_and_retention_from_the_command_line(data: Path) -> None:
    done = run("erase", "--id", "gw.0/3", "--reason", "ticket 1", "--data", data, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)[0] | {"order": ""} == {
        "prediction_id": "gw.0/15",
        "reason": "ticket 1",
        "order": "",
        "what": "payload",
        "records": [],
        "count": 0,
        "kept": 0,
    }
    for wrong in (("--id", "gw.9/1"), ("--id", "x"), ("--subject", "s", "--id", "gw.0/1"), ()):
        assert run("erase", *wrong, "--reason", "r", "--data", data).exit_code == 2
    short = run("prune", "--days", 3, "--reason", "r", "--data", data)
    assert (short.exit_code, "Regulation (EU) 2024/1689" in short.stderr) == (2, True)
    assert run("hold", "--model", "credit", "--reason", "court", "--data", data).stdout == "held: credit\n"
    assert "held for: court" in run("release-hold", "--model", "credit", "--data", data).stdout
    assert run("release-hold", "--model", "credit", "--data", data).exit_code == 2
    assert run("verify", "--data", data).exit_code == 0


def test_keys_rotate_only_after_both_have_signed(data: Path) -> None:
    assert run("sign", "--data", data).exit_code == 0
    assert "0002-ed25519.pem" in run("rotate-key", "--data", data).stdout
    early = run("rotate-key", "--retire", "--data", data)
    assert (early.exit_code, "2 are needed" in early.stderr) == (2, True)
    for _ in range(2):
        run("erase", "--id", "gw.0/3", "--reason", "to grow", "--data", data)
        assert run("sign", "--data", data).exit_code == 0
    assert run("rotate-key", "--retire", "--data", data).exit_code == 0
    run("erase", "--id", "gw.0/3", "--reason", "to grow", "--data", data)
    assert run("sign", "--data", data).exit_code == 0
    assert run("verify", "--data", data).exit_code == 0
    assert run("rotate-payload-key", "--reason", "monthly", "--data", data).exit_code == 0
    assert [path.name for path in (data / "keys" / "payload").glob("kek-*")] == ["kek-000002.key"]


def test_an_erasure_that_found_nothing_says_so(data: Path) -> None:
    done = run("erase", "--tenant", "acme", "--subject", "alice", "--reason", "r", "--data", data)
    assert (done.exit_code, done.stdout) == (0, "gw.0/15: payload of 0 records, 0 kept back\n")
    assert "nothing was kept of that" in done.stderr


def test_questions_from_the_command_line(data: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="needs the extra 'audit'")
    assert "--model --version" in next(line for line in run("query").stdout.splitlines() if "recall" in line)
    assert run("export", "--format", "parquet", "--data", data).exit_code == 2
    assert run("export", "--format", "parquet", "--out", tmp_path / "x.parquet", "--data", data).exit_code == 0
    assert len(duckdb.sql(f"SELECT leaf, model FROM '{tmp_path / 'x.parquet'}'").fetchall()) == 12
    rows = json.loads(run("query", "version", "--model", "credit", "--data", data, "--json").stdout)
    assert [(row["decision"], row["calls"]) for row in rows] == [("allow", 11), ("deny", 1)]
    counted = run("query", "SELECT count(*) AS n FROM records", "--data", data)
    assert counted.stdout.split() == ["n", "14"]
    assert json.loads(run("query", "version", "--until", "2020-01-01", "--data", data, "--json").stdout) == []
    for wrong, text in (
        (("query", "nonsense"), "there is no question 'nonsense'"),
        (("query", "recall"), "needs --model and --version"),
        (("query", "version", "--since", "soon"), "'soon' is no time"),
    ):
        result = run(*wrong, "--data", data)
        assert (result.exit_code, text in result.stderr) == (2, True)


def test_a_witness_in_another_process_cosigns(data: Path, tmp_path: Path) -> None:
    assert run("sign", "--data", data).exit_code == 0
    log = (data / "ledger" / "keyring").read_text().split()[0]
    command = [sys.executable, "-m", "gateway", "ledger", "witness", str(tmp_path / "w"), "--name", "w1", "--log", log]
    process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        key = process.stdout.readline().split()[-1]
        url = "http://" + process.stdout.readline().split()[-1]
        policy = tmp_path / "policy"
        policy.write_text(f"log {log}\nwitness w1 {key}\nquorum w1\n")
        before = run("quorum", policy, "--shard", "gw.0", "--data", data)
        assert (before.exit_code, "cosigned by nobody" in before.stdout) == (1, True)
        cosigned = run("cosign", url, "--key", key, "--shard", "gw.0", "--data", data)
        assert cosigned.stdout == "gw.0: 14 records, 1 new cosignatures\n"
        assert run("quorum", policy, "--shard", "gw.0", "--data", data).exit_code == 0
        run("erase", "--id", "gw.0/3", "--reason", "to grow", "--data", data)
        run("sign", "--data", data)
        assert run("cosign", url, "--key", key, "--shard", "gw.0", "--data", data).exit_code == 0
        assert run("verify", "--data", data).exit_code == 0
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_every_command_shows_an_example() -> None:
    for command in app.registered_commands:
        assert f"Example: gateway ledger {command.name}" in run(str(command.name), "--help").output, command.name


def test_examples_name_ids_as_the_gateway_writes_them() -> None:
    for command in ("show", "prove", "payload"):
        shown = run(command, "--help").output
        assert re.findall(r"[\w.-]+/42", shown), command
        assert set(re.findall(r"[\w.-]+/42", shown)) == {"gw.0/42"}, command
