"""The verifier of one file: short enough to be read, free of our code, and hard to mislead or to use wrongly."""

from __future__ import annotations

import ast
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gateway.ledger import events, merkle, proof, segment
from gateway.ledger.anchor import anchor
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.keeper import Keeper
from gateway.ledger.verify import verify_data

from . import forgery
from .conftest import Open, clock_us, fill
from .test_proof import STANDALONE, standalone


@pytest.fixture
async def data(root: Path, open_shard: Open) -> Path:
    """Two shards, signed and anchored; the head of the second kept elsewhere."""
    keeper = Keeper(root.parent, clock_us=clock_us, anchor_s=0)
    await keeper.open({"version": "test"})
    for shard in ("gw.0", "gw.1"):
        ledger = await open_shard(shard)
        await fill(ledger, 300)
        await ledger.close()
    await keeper.step()
    await keeper.close()
    (root.parent / "kept").write_bytes((root / "gw.1" / "checkpoint").read_bytes())
    return root.parent


def test_an_auditor_can_read_it_in_one_sitting() -> None:
    source = STANDALONE.read_text("utf-8")
    assert len(source.splitlines()) <= 200
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]  # type: ignore[union-attr]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported - sys.stdlib_module_names == {"cryptography"}


def test_without_the_one_package_that_it_needs_it_says_so_and_accuses_nobody(data: Path) -> None:
    command = [sys.executable, "-I", "-S", str(STANDALONE), str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert "python3 -m pip install cryptography" in done.stdout


def test_what_a_newer_version_wrote_it_does_not_judge(data: Path) -> None:
    path = segment.files(data / "ledger" / "gw.0")[-1]
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=17")
    status, text = standalone(data)
    assert (status, verify_data(data).exit_status) == (2, 2)
    assert f"CANNOT: {path.name} has schema 17, this file knows 1" in text


def test_it_checks_several_proofs_at_once_and_names_the_bad_one(data: Path, tmp_path: Path) -> None:
    for seq in (7, 8):
        (tmp_path / f"{seq}.tlog-proof").write_text(str(proof.prove(data / "ledger", "gw.0", seq)), "utf-8")
    words = ("--proof", tmp_path / "7.tlog-proof", tmp_path / "8.tlog-proof", "--keyring", data / "ledger" / "keyring")
    status, text = standalone(*words)
    assert status == 0
    assert [line.split()[1] for line in text.splitlines() if line.startswith("OK")] == ["gw.0/7", "gw.0/8"]
    path = tmp_path / "8.tlog-proof"
    path.write_text(path.read_text().replace("index 8\n", "index 9\n"))
    status, text = standalone(*words)
    assert (status, text.splitlines()[-1]) == (
        1,
        f"NOT OK: EDITED: {path} does not lead from this record to the signed root",
    )


def test_what_is_no_proof_no_head_or_no_directory_is_said_in_one_line(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "letter.txt"
    other.write_text("Dear auditor")
    keys = ("--keyring", data / "ledger" / "keyring")
    assert standalone("--proof", other, *keys) == (1, f"NOT OK: {other} is no tlog-proof with a record in it\n")
    assert standalone("--proof", tmp_path / "none", *keys)[0] == 2
    assert standalone(data, "--from", tmp_path / "none")[0] == 2
    assert standalone(tmp_path / "none") == (2, "OK: 0 shards, 0 findings\n")
    assert standalone()[0] == 2


def test_a_shard_whose_head_somebody_kept_is_missed_even_when_nothing_here_knows_of_it(data: Path) -> None:
    forgery.remove(data / "ledger" / "gw.1")
    forgery.remove(data / "governance")
    assert standalone(data)[0] == 0
    status, text = standalone(data, "--from", data / "kept")
    assert (status, "gw.1: SHARD_MISSING" in text) == (1, True)


async def test_only_the_governance_ledger_anchors(data: Path, root: Path, open_shard: Open) -> None:
    """A shard that anybody can write, without a key, says that gw.0 ends early. Its real anchors go on counting."""
    forgery.rewrite(root / "gw.0", forgery.cut(10))
    for name in ("checkpoint", "checkpoints.db"):
        (root / "gw.0" / name).unlink()
    ledger = await open_shard("aa")
    await ledger.append(anchor({"gw.0": Checkpoint("gw.0", 1, merkle.EMPTY)}, boot=ledger.boot, t_us=clock_us()))
    await ledger.close()
    status, text = standalone(data)
    assert (status, "gw.0: TRUNCATED: there are 292 records" in text) == (1, True)


def test_no_other_event_has_a_field_that_reads_like_an_anchor(data: Path) -> None:
    """The verifier takes ``heads`` in a record of the governance ledger for an anchor or a seal."""
    sources = [path.read_text("utf-8") for path in Path(events.__file__).parents[1].rglob("*.py")]
    assert sum('"heads":' in source for source in sources) == 2
    assert segment.files(data / "governance" / "gov")


def test_a_record_that_was_emptied_is_not_taken_for_one_that_was_pruned(data: Path) -> None:
    """Its hash is still in the tile, as that of a pruned record would be."""
    forgery.execute(segment.files(data / "ledger" / "gw.0")[0], "UPDATE leaf SET leaf = x'' WHERE seq = 77")
    status, text = standalone(data)
    assert (status, "gw.0: " in text) == (1, True)
