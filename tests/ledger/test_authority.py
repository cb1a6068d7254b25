"""A package for an authority: complete, checkable without us, and recorded itself."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.ledger import app
from gateway.ledger import events
from gateway.ledger.export import leaves, utc
from gateway.ledger.keeper import Keeper
from gateway.ledger.record import decode

from .conftest import Open, clock_us, fill


def export(data: Path, out: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["export", "--data", str(data), "--authority", str(out), *words])


def unpacked(path: Path) -> Path:
    with zipfile.ZipFile(path) as package:
        package.extractall(path.parent)
    return path.with_suffix("")


def check(folder: Path, proof: str, keyring: str) -> subprocess.CompletedProcess[str]:
    """As the handbook says."""
    command = [sys.executable, "verify_ledger.py", "--proof", proof, "--keyring", keyring]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
async def data(root: Path, open_shard: Open) -> Path:
    """Shards gw.0 and gw.1 with calls of two models; nothing runs, nothing is signed."""
    for shard in ("gw.0", "gw.1"):
        ledger = await open_shard(shard)
        await fill(ledger, 30, model="credit", principal="=1+1")
        await fill(ledger, 20, model="digits")
        await ledger.close()
    return root.parent


def test_what_an_authority_gets_can_be_checked_with_what_is_in_it(data: Path, tmp_path: Path) -> None:
    done = export(data, tmp_path / "case.zip", "--model", "credit", "--reason", "case 17", "--proofs", "7")
    assert done.exit_code == 0, done.output
    folder = unpacked(tmp_path / "case.zip")
    sums = (folder / "SHA256SUMS").read_text().splitlines()
    named = {line[66:]: line[:64] for line in sums}
    present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert present - set(named) == {"SHA256SUMS", "export.tlog-proof"}
    for name, digest in named.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest

    raw = [decode(line) for line in (folder / "leaves.jsonl").read_bytes().splitlines()]
    assert [item.prediction_id for item in raw] == [f"gw.{s}/{n}" for s in (0, 1) for n in range(1, 31)]
    rows = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    table = list(csv.DictReader((folder / "records.csv").read_text().splitlines()))
    assert [row["prediction_id"] for row in rows] == [row["prediction_id"] for row in table]
    assert (rows[0]["principal"], table[0]["principal"]) == ("=1+1", "'=1+1")  # a spreadsheet runs nothing
    assert (folder / "records.parquet").exists() == (importlib.util.find_spec("duckdb") is not None)
    assert "case 17" in (folder / "README.md").read_text()
    assert json.loads((folder / "verification.json").read_text())["ok"] is True
    assert "properties" in json.dumps(json.loads((folder / "schema.json").read_text()))

    proofs = sorted((folder / "proofs").iterdir())
    assert 5 <= len(proofs) <= 7
    for path in proofs:
        shown = check(folder, f"proofs/{path.name}", "keyring-ledger")
        assert shown.returncode == 0, shown.stdout
        assert path.stem.replace("-", "/") in shown.stdout.splitlines()[-1]
    made = check(folder, "export.tlog-proof", "keyring-governance")
    assert made.returncode == 0, made.stdout
    event = events.decode(made.stdout.splitlines()[0].encode())
    assert (event.kind, event.reason, event.fields["records"]) == ("export", "case 17", 60)
    assert event.fields["sums"] == hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()


def test_a_package_that_was_changed_does_not_fit_its_event(data: Path, tmp_path: Path) -> None:
    assert export(data, tmp_path / "case.zip", "--reason", "r").exit_code == 0
    folder = unpacked(tmp_path / "case.zip")
    path = folder / "proofs" / "gw.0-1.tlog-proof"
    path.write_text(path.read_text().replace("index 1\n", "index 2\n"))
    assert check(folder, f"proofs/{path.name}", "keyring-ledger").returncode == 1


async def test_it_is_made_beside_a_running_gateway(root: Path, tmp_path: Path, open_shard: Open) -> None:
    keeper = Keeper(root.parent, clock_us=clock_us, anchor_s=0)
    await keeper.open({"version": "test"})
    ledger = await open_shard()
    await fill(ledger, 10, model="credit")
    middle = clock_us()
    await fill(ledger, 10, model="credit")
    over = asyncio.Event()

    async def keep() -> None:
        while not over.is_set():
            await keeper.step()
            await asyncio.sleep(0.02)

    keeping = asyncio.create_task(keep())
    try:
        async with asyncio.timeout(120):
            while not (root / "gw.0" / "checkpoint").exists():
                await asyncio.sleep(0.02)
            words = ("--since", utc(middle), "--reason", "r")
            done = await asyncio.to_thread(export, root.parent, tmp_path / "case.zip", *words)
    finally:
        over.set()
        await keeping
        await keeper.close()
    assert done.exit_code == 0, done.output
    folder = unpacked(tmp_path / "case.zip")
    assert len((folder / "leaves.jsonl").read_bytes().splitlines()) == 10
    assert check(folder, "export.tlog-proof", "keyring-governance").returncode == 0
    stored = [events.decode(leaf).kind for leaf in leaves(root.parent / "governance", "gov")]
    assert stored.count("export") == 1


def test_it_needs_a_reason_and_overwrites_nothing(data: Path, tmp_path: Path) -> None:
    silent = export(data, tmp_path / "case.zip")
    assert (silent.exit_code, "say with --reason who asked" in silent.output) == (2, True)
    (tmp_path / "case.zip").write_text("mine")
    again = export(data, tmp_path / "case.zip", "--reason", "r")
    assert (again.exit_code, "is there already" in again.output) == (2, True)
    assert (tmp_path / "case.zip").read_text() == "mine"
    assert not (data / "governance").exists()
