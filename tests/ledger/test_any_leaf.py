"""A verification ends with a verdict, whatever well-formed records somebody has put into the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.ledger import segment
from gateway.ledger.keeper import Keeper
from gateway.ledger.verdict import Verdict
from gateway.ledger.verify import verify_data

from . import forgery
from .conftest import Open, clock_us, fill
from .test_proof import standalone

NUMBERS = st.sampled_from([0, 1, -1, 7, 1 << 16, 1 << 62, (1 << 63) - 1, 1 << 63, -(1 << 63), 10**400])
VALUES = st.one_of(
    NUMBERS, st.none(), st.booleans(), st.sampled_from(["", "x", "1-9", "9-1", "gw.0 1 AA==", "leaf", "\ud800"])
)
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            "heads",
            "records",
            "what",
            "found_first",
            "found_last",
            "started",
            "size",
            "root",
            "owed",
            "after",
            "unanswered",
        ]
    ),
    st.one_of(VALUES, st.lists(VALUES, max_size=2)),
    max_size=4,
)
LEAVES = st.fixed_dictionaries(
    {
        "v": st.sampled_from([1, 2, "1"]),
        "kind": st.sampled_from(["call", "boot", "beat", "shutdown", "recover", "erase", "anchor", "seal", ""]),
        "shard": st.sampled_from(["gw.0", "gov", ""]),
        "seq": st.one_of(st.just(5), NUMBERS),
        "t_us": st.one_of(st.just(1_795_000_000_000_000), NUMBERS),
    },
    optional={
        "boot": st.sampled_from(["", "00112233aabbccdd"]),
        "dur_us": NUMBERS,
        "fields": st.one_of(FIELDS, st.none(), st.just([1]), st.just("x"), st.just({"heads": None})),
    },
)


@pytest.fixture
async def data(root: Path, open_shard: Open) -> Path:
    keeper = Keeper(root.parent, clock_us=clock_us, anchor_s=0)
    await keeper.open({"version": "test"})
    ledger = await open_shard("gw.0")
    await fill(ledger, 20)
    await ledger.close()
    await keeper.step()
    await keeper.close()
    return root.parent


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LEAVES, st.sampled_from(["ledger/gw.0", "governance/gov"]), st.sampled_from([1, 5]))
def test_any_leaf_gets_a_verdict(data: Path, leaf: dict[str, object], shard: str, seq: int) -> None:
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(data, copy)
        forgery.put(segment.files(copy / shard)[0], seq, json.dumps(leaf).encode())
        report = verify_data(copy)
        assert report.exit_status == 1
        assert all(str(finding) for finding in report.findings)
        status, text = standalone(copy)
        assert status == 1
        assert "Traceback" not in text


@pytest.mark.parametrize("last", [(1 << 63) - 1, (1 << 63) - 2])
async def test_the_largest_number_there_is_ends_too(data: Path, last: int) -> None:
    path = segment.files(data / "ledger" / "gw.0")[0]
    forgery.execute(path, f"UPDATE leaf SET seq = {last} WHERE seq = 9", "INSERT INTO meta VALUES ('pruned', 1)")
    shutil.copy(path, path.with_name("000000000500.db"))
    forgery.execute(path.with_name("000000000500.db"), "UPDATE meta SET value = 500 WHERE key = 'first_seq'")
    assert verify_data(data).exit_status == 1
    assert standalone(data)[0] == 1


@pytest.mark.parametrize("version", [-1, 0])
async def test_a_schema_that_never_was_is_no_older_one(data: Path, version: int) -> None:
    forgery.execute(segment.files(data / "ledger" / "gw.0")[0], f"PRAGMA user_version={version}")
    assert verify_data(data).exit_status != 0
    assert standalone(data)[0] != 0


async def test_a_head_that_may_not_be_read_is_no_evidence(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "checkpoint":
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    report = verify_data(data)
    assert {finding.verdict for finding in report.findings} == {Verdict.CANNOT}
    assert report.exit_status == 2


async def test_a_head_that_is_a_directory_is_a_finding(data: Path) -> None:
    path = data / "ledger" / "gw.0" / "checkpoint"
    path.unlink()
    path.mkdir()
    assert verify_data(data).exit_status == 1
    assert standalone(data)[0] != 0
