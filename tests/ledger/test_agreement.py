"""Two verifiers, written apart, agree on mutilated ledgers: ours, and the one file that auditors use."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from gateway.ledger.keeper import Keeper
from gateway.ledger.verify import verify_data

from .conftest import Open, clock_us, fill
from .test_proof import standalone


@pytest.fixture
async def data(root: Path, open_shard: Open) -> Path:
    keeper = Keeper(root.parent, clock_us=clock_us, anchor_s=0)
    await keeper.open({"version": "test"})
    ledger = await open_shard("gw.0", segment_leaves=200)
    for _ in range(6):
        await fill(ledger, 90)
    await ledger.close()
    await keeper.step()
    await keeper.close()
    return root.parent


def mutilate(data: Path, chance: random.Random) -> str:
    """One random change of one random file of the ledgers; returns what was done."""
    paths = sorted(p for p in data.rglob("*") if p.is_file() and "keys" not in p.parts and p.stat().st_size > 0)
    path = chance.choice([p for p in paths if p.suffix == ".db" or p.name == "checkpoint"])
    raw = bytearray(path.read_bytes())
    at = chance.randrange(len(raw))
    act = chance.choice(["flip", "flip", "flip", "zero", "cut", "copy"])
    if act == "flip":
        raw[at] ^= 1 << chance.randrange(8)
    elif act == "zero":
        raw[at : at + 64] = bytes(len(raw[at : at + 64]))
    elif act == "cut":
        del raw[at:]
    else:
        other = chance.randrange(len(raw))
        raw[at : at + 32] = raw[other : other + 32]
    path.write_bytes(raw)
    return f"{act} {path.relative_to(data)} at {at}"


def compare(data: Path, tmp_path: Path, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    for turn in range(rounds):
        copy = tmp_path / f"copy-{turn}"
        shutil.copytree(data, copy)
        done = mutilate(copy, chance)
        ours = verify_data(copy)
        status, text = standalone(copy)
        assert (ours.exit_status == 0) == (status == 0), f"{done}: {[str(f) for f in ours.findings]} against {text}"
        assert "Traceback" not in text
        shutil.rmtree(copy)


async def test_they_agree_on_a_few(data: Path, tmp_path: Path) -> None:
    assert verify_data(data).ok
    assert standalone(data)[0] == 0
    compare(data, tmp_path, 15, seed=random.randrange(1 << 30))


@pytest.mark.chaos
async def test_they_agree_on_a_thousand(data: Path, tmp_path: Path) -> None:
    compare(data, tmp_path, 1_000, seed=7)
