"""``gateway usage``: every format, windows, and the line that says whether the numbers are exact."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.usage import app
from gateway.ledger.follower import Tail
from gateway.observer.closing import UsageFold
from gateway.observer.followers import FoldFollower
from gateway.observer.usage import HOUR_US

HOUR_0 = 1_790_000_000_000_000 - 1_790_000_000_000_000 % HOUR_US  # 2026-09-21T14:00Z


@pytest.fixture
def data(shards, record, denied) -> Path:
    shards.add(
        record(0, t_us=HOUR_0),
        record(1, t_us=HOUR_0 + HOUR_US - 1, **denied),
        record(2, t_us=HOUR_0 + HOUR_US),
        record(0, shard="gw.1", t_us=HOUR_0, tenant="=cmd()", principal="globex/app", version="4"),
        record(1, shard="gw.1", kind="beat"),
    )
    return shards.root.parent


def run(data: Path, *arguments: str, status: int = 0):
    result = CliRunner().invoke(app, ["--data", str(data), *arguments])
    assert result.exit_code == status, result.output
    return result


def test_json_has_one_row_per_group_and_reconciles(data: Path) -> None:
    result = run(data, "--json")
    rows = json.loads(result.stdout)
    assert [
        (r["tenant"], r["principal"], r["model"], r["version"], r["requests"], r["rows"], r["denied"]) for r in rows
    ] == [
        ("=cmd()", "globex/app", "credit", "4", 1, 2, 0),
        ("acme", "acme/app", "credit", "3", 3, 4, 1),
    ]
    assert result.stderr == "reconciled: 5 ledger records = 4 predictions + 1 beat (exact)\n"


def test_grouping_by_hour(data: Path) -> None:
    rows = json.loads(run(data, "--json", "--group-by", "hour").stdout)
    assert [(r["hour"], r["requests"]) for r in rows] == [("2026-09-21T14:00:00Z", 3), ("2026-09-21T15:00:00Z", 1)]


def test_a_window_counts_what_is_in_it_and_says_what_is_outside(data: Path) -> None:
    result = run(data, "--json", "--from", "2026-09-21T15:00", "--to", "2026-09-21T17:00+01:00")
    assert [r["requests"] for r in json.loads(result.stdout)] == [1]
    assert result.stderr == "reconciled: 5 ledger records = 1 prediction + 3 outside the window + 1 beat (exact)\n"


def test_csv_has_a_header_and_no_cell_that_a_spreadsheet_would_run(data: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run(data, "--format", "csv").stdout)))
    assert [(r["tenant"], r["requests"], r["compute_seconds"]) for r in rows] == [
        ("'=cmd()", "1", "0.0009"),
        ("acme", "3", "0.0018"),
    ]


def test_focus_rows_are_hourly_with_periods_and_null_costs(data: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run(data, "--format", "focus").stdout)))
    first = next(r for r in rows if r["SubAccountId"] == "acme")
    assert (first["ChargePeriodStart"], first["ChargePeriodEnd"]) == ("2026-09-21T14:00:00Z", "2026-09-21T15:00:00Z")
    assert (first["BillingPeriodStart"], first["BillingPeriodEnd"]) == ("2026-09-01T00:00:00Z", "2026-10-01T00:00:00Z")
    assert (first["SkuId"], first["ConsumedQuantity"], first["ConsumedUnit"], first["BilledCost"]) == (
        "credit:3",
        "2",
        "Rows",
        "",
    )
    assert sum(int(r["x_Requests"]) for r in rows) == 4


def test_cloudevents_are_one_a_call_with_the_prediction_id(data: Path) -> None:
    events = [json.loads(line) for line in run(data, "--format", "cloudevents").stdout.splitlines()]
    assert [event["id"] for event in events] == ["gw.0/0", "gw.0/1", "gw.0/2", "gw.1/0"]
    assert events[1]["data"] == {
        "principal": "acme/app",
        "model": "credit",
        "version": "3",
        "outcome": "denied",
        "requests": 1,
        "items": 0,
        "bytes": 0,
        "compute_ms": 0,
    }
    assert {event["specversion"] for event in events} == {"1.0"}


def test_the_table_shows_rows_and_the_line(data: Path) -> None:
    output = run(data).stdout
    assert "acme" in output
    assert "reconciled: 5 ledger records" in " ".join(output.split())


def test_a_gap_in_the_ledger_is_exit_status_one_and_named(data: Path, shards, record) -> None:
    shards.add(record(9))
    result = run(data, "--json", status=1)
    assert "12 ledger records ≠ 5 predictions + 1 beat (NOT EXACT, 6 records unaccounted for)" in result.stderr


def test_a_shard_that_cannot_be_read_is_exit_status_one_and_named(data: Path, shards) -> None:
    path = shards.root / "gw.1" / "000000000000.db"
    path.write_bytes(b"no segment" * 500)
    result = run(data, "--json", status=1)
    assert "shard gw.1 cannot be read" in result.stderr


def closing(data: Path) -> Path:
    """What the observer makes of ``data``."""
    path = data / "observer" / "usage.db"
    follower = FoldFollower("usage", UsageFold(), path, clock_ns=lambda: 0)
    follower.open(lambda shard: 0)
    tail = Tail(data / "ledger", [follower])
    tail.step()
    tail.close()
    follower.close()
    return path


def test_a_recount_agrees_with_the_closing_or_names_the_first_sum_that_does_not(data: Path) -> None:
    path = closing(data)
    assert run(data, "--json", "--recount").stdout == run(data, "--json").stdout
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE usage SET rows = rows + 1 WHERE tenant = 'acme'")
    assert json.loads(run(data, "--json").stdout)[1]["rows"] == 6
    result = run(data, "--json", "--recount", status=1)
    assert "2 of 3 hourly sums" in result.stderr
    assert "2026-09-21T14:00:00Z acme/acme/app/credit/3: closed Sums(requests=2" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--group-by", "tenat"), "tenat cannot be grouped by"),
        (("--from", "yesterday"), "is no date or time"),
        (("--data", "/nowhere"), "/nowhere/ledger does not exist"),
    ],
)
def test_wrong_arguments_are_named(data: Path, arguments: tuple[str, str], text: str) -> None:
    result = run(data, *arguments, status=2)
    assert text in " ".join(result.output.replace("│", " ").split())
