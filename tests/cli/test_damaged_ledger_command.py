"""``gateway ledger`` on a ledger in which one byte is no text any more."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from gateway.ledger import segment

from .test_ledger_command import data, run

__all__ = ["data"]  # the fixture


def damage(data: Path) -> None:
    """One byte of one record is no text any more."""
    with sqlite3.connect(segment.files(data / "ledger" / "gw.0")[0]) as db:
        (leaf,) = db.execute("SELECT leaf FROM leaf WHERE seq = 5").fetchone()
        db.execute("UPDATE leaf SET leaf = ? WHERE seq = 5", (leaf.replace(b"gw.0", b"\xe7w.0"),))
    db.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "gw.0/5"),
        ("tail",),
        ("export",),
        ("payload", "gw.0/5"),
        ("erase", "--principal", "app", "--tenant", "acme", "--reason", "r"),
    ],
)
def test_a_damaged_record_is_one_clear_line(data: Path, arguments: tuple[object, ...]) -> None:
    damage(data)
    result = run(*arguments, "--data", data)
    assert result.exit_code == 2
    assert "a record cannot be read ('utf-8' codec can't decode byte 0xe7" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "gateway ledger verify" in result.stderr


def test_a_damaged_record_does_not_end_a_verification(data: Path) -> None:
    damage(data)
    for more in ((), ("--payloads",)):
        result = run("verify", *more, "--json", "--data", data)
        assert result.exit_code == 1
        (finding,) = json.loads(result.stdout)["findings"]
        assert (finding["verdict"], finding["first"]) == ("EDITED", 5)
