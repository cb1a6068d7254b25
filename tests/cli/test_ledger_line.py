"""One record as one line of ``gateway ledger tail``."""

from __future__ import annotations

import pytest

from gateway.cli import ledger_print
from gateway.ledger import export
from gateway.ledger import leaf as leaves
from gateway.ledger.record import Record
from gateway.ledger.verdict import Coverage, Report

T_US = 1_795_000_000_000_000  # 2026-11-18T11:06:40Z


def told(capsys: pytest.CaptureFixture[str], *, today: str = "2026-11-18", **fields: object) -> str:
    given: dict[str, object] = {
        "tenant": "acme",
        "principal": "app",
        "action": "infer:ModelInfer",
        "model": "credit",
        "version": "3",
        "outcome": "answered",
        "status": "OK",
        "dur_us": 7,
        "decision_id": "cd" * 16,
        "allow": True,
        "effect": "enforced",
    }
    leaf = leaves.encode(Record(v=1, kind="call", shard="gw.0", seq=5, t_us=T_US, **(given | fields)))  # type: ignore[arg-type]
    ledger_print.line(export.row(leaf), as_json=False, today=today)
    return capsys.readouterr().out.rstrip("\n")


def test_a_call_of_today(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys) == "11:06:40.000 gw.0/5 answered acme/app infer:ModelInfer credit:3 OK 7 us"


def test_another_day_shows_its_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, today="2026-11-19").startswith("2026-11-18 11:06:40.000 gw.0/5 ")


def test_an_excused_denial_says_warned_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    line = told(capsys, allow=False, effect="warned", reasons=("hours",))
    assert "gw.0/5 answered warned acme/app" in line
    assert line.endswith(" hours")


def test_a_denial_that_held_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert "warned" not in told(capsys, allow=False, outcome="denied", reasons=("hours",))


def test_what_a_call_does_not_have_leaves_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    line = told(capsys, action="metadata:ServerReady", model="", version="")
    assert line == "11:06:40.000 gw.0/5 answered acme/app metadata:ServerReady OK 7 us"
    assert " credit OK " in told(capsys, model="", version="", asked="credit")


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 of 0 records"), (1, "1 of 1 record"), (1200, "1,200 of 1,200 records")]
)
def test_a_verdict_counts_in_grammar(capsys: pytest.CaptureFixture[str], count: int, said: str) -> None:
    covered = Coverage(shard="gw.0", leaves=count, checked=count, calls=0, segments=1, root="")
    ledger_print.report(Report(coverage=[covered]), as_json=False)
    assert f"OK: {said} checked, 0 findings" in capsys.readouterr().out
