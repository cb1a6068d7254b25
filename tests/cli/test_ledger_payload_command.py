"""What was kept can be shown, checked and erased, by the recorder's own format."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.ledger import app
from gateway.ledger import leaf as leaves
from gateway.ledger.commitment import commit, commit_bytes
from gateway.ledger.ledger import Payload
from gateway.ledger.record import Record
from gateway.ledger.shard import ShardLedger
from gateway.pipeline.payload import encode_payload
from gateway.types import Tensor

IN = Tensor(name="x", datatype="FP32", shape=(1, 2), data=b"\x00\x00\x80?\x00\x00\x00@")
OUT = Tensor(name="y", datatype="BYTES", shape=(1,), data=b"\x02\x00\x00\x00hi")
POLICY = b'{"a":1}'
SALTS = bytes(range(64))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Shard gw.0: 1 kept in full, 2 as digest, 3 not at all, 4 in full with contents that do not fit."""

    async def fill() -> None:
        ledger = await ShardLedger.open(tmp_path / "ledger", "gw.0", boot={}, clock_us=lambda: 1_795_000_000_000_000)
        bodies = {
            "full": encode_payload([IN], [OUT], POLICY),
            "digest": encode_payload((), (), POLICY),
            "wrong": encode_payload([OUT], [OUT], POLICY),
        }
        for mode in ("full", "digest", "none", "wrong"):

            def encode(shard: str, seq: int, mode: str = mode) -> bytes:
                return leaves.encode(
                    Record(
                        v=1,
                        kind="call",
                        shard=shard,
                        seq=seq,
                        t_us=1_795_000_000_000_000,
                        tenant="acme",
                        principal="app" if seq < 3 else "other",
                        payload="full" if mode == "wrong" else mode,
                        in_c=commit("in", SALTS[:32], [IN]),
                        out_c=commit("out", SALTS[32:], [OUT]),
                        pol_c=commit_bytes("pol", SALTS[:32], POLICY),
                    )
                )

            kept = Payload(salts=SALTS, body=bodies[mode], tenant="acme") if mode in bodies else None
            await ledger.append(encode, kept)
        await ledger.close()

    asyncio.run(fill())
    return tmp_path


def test_what_was_kept_is_shown(data: Path) -> None:
    shown = json.loads(run("payload", "gw.0/1", "--data", data).stdout)
    assert base64.b64decode(shown["inputs"][0]["data_base64"]) == IN.data
    assert (shown["outputs"][0]["name"], shown["policy"]) == ("y", {"a": 1})
    assert json.loads(run("payload", "gw.0/2", "--data", data).stdout)["inputs"] == []
    assert "OK: what is kept of gw.0/1" in run("payload", "gw.0/1", "--check", "--data", data).stdout


def test_what_is_not_there_or_does_not_fit_is_said(data: Path) -> None:
    missing = run("payload", "gw.0/3", "--data", data)
    assert (missing.exit_code, "nothing is kept of gw.0/3" in missing.stderr) == (2, True)
    wrong = run("payload", "gw.0/4", "--data", data)
    assert (wrong.exit_code, "committed to: inputs" in wrong.stderr) == (2, True)


def test_all_payloads_are_held_against_their_records(data: Path) -> None:
    plain = run("verify", "--data", data)
    assert plain.exit_code == 0
    found = run("verify", "--payloads", "--data", data)
    assert (found.exit_code, "3 payloads opened" in found.stderr) == (1, True)
    assert "EDITED(4) gw.0: the payload is not what was committed to: inputs" in found.stdout


def test_a_callers_payloads_are_erased(data: Path) -> None:
    done = run("erase", "--tenant", "acme", "--principal", "app", "--reason", "r", "--data", data, "--json")
    assert json.loads(done.stdout)[0]["records"] == ["1-2"]
    assert run("payload", "gw.0/1", "--data", data).exit_code == 2
    assert run("erase", "--tenant", "x", "--principal", "app", "--reason", "r", "--data", data).exit_code == 2
    assert run("verify", "--data", data).exit_code == 0
