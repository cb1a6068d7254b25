"""Parquet and SQL, offline: bytes survive, answers are right, nothing outside can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.ledger import archive, export, segment
from gateway.ledger.errors import LedgerError
from gateway.ledger.questions import QUESTIONS

from . import forgery
from .conftest import START_US, Open, a_call

pytest.importorskip("duckdb", reason="needs the extra 'audit'")

VALUES = {"model": "credit", "version": "3", "digest": "ab", "since_us": 0, "until_us": 1 << 62}


@pytest.fixture
async def filled(root: Path, open_shard: Open) -> Path:
    """Sixty calls of two tenants, a third of them denied, over several segments of two shards."""
    for shard in ("gw.0", "gw.1"):
        ledger = await open_shard(shard, segment_leaves=10)
        for i in range(30):
            denied = i % 3 == 0
            await ledger.append(
                a_call(
                    boot=ledger.boot,
                    tenant="acme" if i % 2 else "umbra",
                    method="/inference.GRPCInferenceService/ModelInfer",
                    model="credit",
                    version="3",
                    decision_id="cd" * 16,
                    allow=not denied,
                    reasons=("tenant.not_allowed", "hours") if denied else (),
                    outcome="denied" if denied else "answered",
                    policy_sha="ab" * 32,
                    purpose="größer 'quoted' \u2603",
                    rows=2,
                    ph={"infer": 7},
                )
            )
        await ledger.close()
    return root


def asked(root: Path, sql: str) -> list[dict[str, object]]:
    with archive.database() as db:
        archive.load(db, root)
        names, rows = archive.ask(db, sql, VALUES)
        return [dict(zip(names, row, strict=True)) for row in rows]


async def test_who_used_which_version_with_what_decision(filled: Path) -> None:
    rows = asked(filled, QUESTIONS["version"].sql)
    assert {(r["tenant"], r["decision"], r["outcome"], r["calls"]) for r in rows} == {
        ("acme", "allow", "answered", 20),
        ("umbra", "allow", "answered", 20),
        ("acme", "deny", "denied", 10),
        ("umbra", "deny", "denied", 10),
    }


@pytest.mark.parametrize(
    ("name", "rows"),
    [("denials", 4), ("rates", 2), ("policy", 60), ("recall", 40), ("usage", 2), ("erasures", 0), ("completeness", 0)],
)
async def test_every_question_has_an_answer(filled: Path, name: str, rows: int) -> None:
    assert len(asked(filled, QUESTIONS[name].sql)) == rows


async def test_times_bound_the_question(filled: Path) -> None:
    with archive.database() as db:
        archive.load(db, filled)
        assert archive.ask(db, QUESTIONS["version"].sql, VALUES | {"until_us": START_US})[1] == []


async def test_usage_is_exact(filled: Path) -> None:
    assert sum(int(str(row["rows"])) for row in asked(filled, QUESTIONS["usage"].sql)) == 80


async def test_an_archive_holds_the_exact_bytes_and_their_hashes(filled: Path, tmp_path: Path) -> None:
    out = tmp_path / "it's an archive"
    made = archive.write(filled, out)
    assert len(made) == sum(len(segment.files(filled / shard)) - 1 for shard in ("gw.0", "gw.1"))
    assert archive.write(filled, out) == []
    with archive.database() as db:
        archive.load_archive(db, out)
        _, rows = archive.ask(db, "SELECT shard, seq, leaf, leaf_hash FROM records ORDER BY shard, seq")
        _, wrong = archive.ask(
            db, "SELECT count(*) FROM records WHERE leaf_hash <> unhex(sha256('\\x00'::BLOB || leaf))"
        )
    assert wrong == [(0,)]
    for shard in ("gw.0", "gw.1"):
        end = segment.first_seq(segment.files(filled / shard)[-1])
        assert [row[2] for row in rows if row[0] == shard] == list(export.leaves(filled, shard, 0, end))


async def test_a_gap_is_seen(filled: Path) -> None:

    forgery.execute(segment.files(filled / "gw.0")[1], "DELETE FROM leaf WHERE seq=15")
    assert asked(filled, QUESTIONS["completeness"].sql) == [{"shard": "gw.0", "from_seq": 15, "missing": 1}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM '/etc/passwd'",
        "COPY records TO '/tmp/out.csv'",
        "ATTACH 'x.db'",
        "INSTALL httpfs",
        "SELECT nonsense",
    ],
)
async def test_sql_cannot_leave_the_ledger(filled: Path, sql: str) -> None:
    with pytest.raises(LedgerError):
        asked(filled, sql)


def test_no_archive_is_said(tmp_path: Path) -> None:
    with archive.database() as db, pytest.raises(LedgerError, match="no Parquet files"):
        archive.load_archive(db, tmp_path)
