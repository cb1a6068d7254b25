"""Two ways to the same figures: ``gateway usage`` folds records, ``gateway ledger query usage`` asks SQL."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from typer import Typer
from typer.testing import CliRunner

from gateway.cli.ledger import app as ledger_app
from gateway.cli.usage import app as usage_app
from gateway.ledger import leaf as leaves
from gateway.ledger.record import OUTCOMES, Record
from gateway.ledger.shard import ShardLedger

METHODS = ("ModelInfer", "ModelStreamInfer", "ModelMetadata", "RepositoryIndex", "ServerLive")
SAME = ("tenant", "principal", "model", "version", "requests", "denied", "failed", "rows", "in_bytes", "out_bytes")
T_US = 1_795_000_000_000_000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Every outcome of every method, for two tenants."""

    async def fill() -> None:
        ledger = await ShardLedger.open(tmp_path / "ledger", "gw.0", boot={}, clock_us=lambda: T_US)
        for tenant in ("acme", "umbra"):
            for method in METHODS:
                for outcome in OUTCOMES:
                    call = Record(
                        v=1,
                        kind="call",
                        t_us=T_US,
                        tenant=tenant,
                        principal="app",
                        method=f"/inference.GRPCInferenceService/{method}",
                        model="credit",
                        version="3",
                        outcome=outcome,
                        rows=2,
                        in_b=30,
                        out_b=5,
                    )
                    await ledger.append(
                        lambda shard, seq, call=call: leaves.encode(replace(call, shard=shard, seq=seq))
                    )
        await ledger.close()

    asyncio.run(fill())
    return tmp_path


def _rows(app: Typer, *arguments: str) -> list[dict[str, object]]:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return [{name: row[name] for name in SAME} for row in json.loads(result.stdout)]


def test_query_usage_and_usage_agree_where_calls_are_of_both_kinds(data: Path) -> None:
    pytest.importorskip("duckdb", reason="needs the extra 'audit'")
    asked = _rows(ledger_app, "query", "usage", "--data", str(data), "--json")
    folded = _rows(usage_app, "--data", str(data), "--json")
    assert asked == folded
    assert [(row["requests"], row["denied"], row["failed"], row["rows"]) for row in asked] == [(14, 4, 8, 4)] * 2


def test_calls_hold_what_predictions_leave_out(data: Path) -> None:
    pytest.importorskip("duckdb", reason="needs the extra 'audit'")
    sql = "SELECT (SELECT count(*) FROM calls) AS calls, (SELECT count(*) FROM predictions) AS predictions"
    result = CliRunner().invoke(ledger_app, ["query", sql, "--data", str(data), "--json"])
    assert json.loads(result.stdout) == [{"calls": 70, "predictions": 28}]
