"""Two verifiers, written apart, agree on mutilated ledgers: ours, and the one file that auditors use."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.ledger import merkle, segment
from gateway.ledger.hashes import ShardHashes
from gateway.ledger.keeper import Keeper
from gateway.ledger.reader import ShardReader
from gateway.ledger.verify import verify_data

from . import forgery
from .conftest import Open, clock_us, fill
from .test_proof import standalone
from .test_readonly import ERASING, die_inside

Left = Callable[[Path], None]


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


def journal_of_heads(shard: Path) -> None:
    """The observer died while it kept an anchored head."""
    path = shard / "checkpoints.db"
    change = "UPDATE head SET note = hex(randomblob(90000))"
    assert die_inside(path, "PRAGMA cache_size=1", "BEGIN", change).stat().st_size > 0


def journal_of_a_sealed_segment(shard: Path) -> None:
    """The writer died while it erased something in a closed segment."""
    assert die_inside(segment.files(shard)[0], *ERASING).stat().st_size > 0


def journal_of_the_live_segment(shard: Path) -> None:
    """The writer died while SQLite switched a segment to WAL or back."""
    assert die_inside(segment.files(shard)[-1], *ERASING).stat().st_size > 0


def log_without_index(shard: Path) -> None:
    """A log that was not moved into its file, copied without the shared memory beside it."""
    die_inside(
        segment.files(shard)[-1], "PRAGMA journal_mode=WAL", "BEGIN", "INSERT INTO meta VALUES ('n', 1)", "COMMIT"
    )
    for path in shard.glob("*-shm"):
        path.unlink()
    assert any(path.stat().st_size for path in shard.glob("*-wal"))


def drafts(shard: Path) -> None:
    """Files that were being made."""
    for name in (".checkpoint.77.0a0a0a0a", f"{segment.name(9_999)}.new", "checkpoints.db.77.new"):
        (shard / name).write_bytes(b"half")


def a_segment_without_records(shard: Path) -> None:
    """The writer died right after it began the next segment."""
    with closing(ShardReader(shard.parent, shard.name)) as reader:
        size = reader.size()
        segment.create(shard, shard.name, size, merkle.range_root(0, size, ShardHashes(reader)))


def no_observer_yet(shard: Path) -> None:
    """Neither heads nor keys are there: the observer had not come to it."""
    for path in (shard / "checkpoint", shard / "checkpoints.db", shard.parent / "keyring"):
        path.unlink()
    shutil.rmtree(shard.parent.parent / "governance")


LEFT = [
    journal_of_heads, journal_of_a_sealed_segment, journal_of_the_live_segment, log_without_index, drafts,
    a_segment_without_records, no_observer_yet,
]  # fmt: skip


@pytest.mark.parametrize("left", LEFT, ids=lambda left: str(left.__name__))
async def test_both_read_what_a_crash_left_and_find_what_was_changed_beside_it(data: Path, left: Left) -> None:
    left(data / "ledger" / "gw.0")
    ours = verify_data(data)
    assert (ours.exit_status, ours.errors) == (0, [])
    assert standalone(data)[0] == 0
    if left is journal_of_the_live_segment or left is log_without_index:
        return  # another writer would mend the file
    path = segment.files(data / "ledger" / "gw.0")[1]
    forgery.edit(path, segment.first_seq(path) + 10)
    ours = verify_data(data)
    assert ours.exit_status == 1
    assert standalone(data)[0] == 1
