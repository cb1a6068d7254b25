"""Whatever is done to a ledger on disk is found and called by its name."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.ledger import segment
from gateway.ledger.keeper import Keeper
from gateway.ledger.verdict import Finding, Report, Verdict
from gateway.ledger.verify import verify_data

from . import forgery
from .conftest import START_US, Open, a_call, clock_us, fill
from .test_proof import standalone


@pytest.fixture
async def data(root: Path, open_shard: Open) -> Path:
    """700 calls in shard gw.0, 100 in gw.1, a restart in between, all signed and anchored twice."""
    keeper = Keeper(root.parent, clock_us=clock_us, anchor_s=0)
    await keeper.open({"version": "test"})
    one, two = await open_shard("gw.0"), await open_shard("gw.1")
    await fill(one, 300)
    await fill(two, 100)
    await keeper.step()
    (root.parent / "head-early").write_bytes((root / "gw.0" / "checkpoint").read_bytes())
    await one.close()
    one = await open_shard("gw.0")
    await fill(one, 400)
    await one.close()
    await two.close()
    await keeper.step()
    await keeper.close()
    report = verify_data(root.parent, outside=[root.parent / "head-early"])
    assert report.findings == []
    assert {item.shard: item.calls for item in report.coverage} == {"gw.0": 700, "gw.1": 100, "gov": 0}
    return root.parent


def the_segment(data: Path, shard: str = "gw.0") -> Path:
    return segment.files(data / "ledger" / shard)[0]


def found(report: Report) -> list[tuple[Verdict, str, int | None, int | None]]:
    return [(f.verdict, f.shard, f.first, f.last) for f in report.findings]


Act = Callable[[Path], None]
CASES: dict[str, tuple[Act, list[tuple[Verdict, str, int | None, int | None]]]] = {
    "a byte in a leaf under a full tile": (
        lambda data: forgery.edit(the_segment(data), 77),
        [(Verdict.EDITED, "gw.0", 77, 77)],
    ),
    "a leaf that is no text": (
        lambda data: forgery.put(the_segment(data), 77, b'{"v":1,"kind":"call","shard":"\xe7w.0","seq":77}'),
        [(Verdict.EDITED, "gw.0", 77, None)],
    ),
    "a leaf nested without end": (
        lambda data: forgery.put(the_segment(data), 77, b'{"v":1,"kind":"call","ph":' + b"[" * 60_000),
        [(Verdict.EDITED, "gw.0", 77, None)],
    ),
    "a byte in a leaf of the open tile": (
        lambda data: forgery.edit(the_segment(data), 699),
        [(Verdict.EDITED, "gw.0", 699, None)],
    ),
    "a byte in a tile": (
        lambda data: forgery.execute(
            the_segment(data), "UPDATE tile SET hashes = CAST(x'00' || substr(hashes, 2) AS BLOB) WHERE level=0 AND n=1"
        ),
        [(Verdict.EDITED, "gw.0", 256, 256)],
    ),
    "a tile deleted": (
        lambda data: forgery.execute(the_segment(data), "DELETE FROM tile WHERE n=1"),
        [(Verdict.EDITED, "gw.0", 256, 511)],
    ),
    "a record deleted under a full tile": (
        lambda data: forgery.execute(the_segment(data), "DELETE FROM leaf WHERE seq=100"),
        [(Verdict.MISSING, "gw.0", 100, 100)],
    ),
    "a record under a number far away": (
        lambda data: forgery.execute(the_segment(data), f"UPDATE leaf SET seq = {1 << 62} WHERE seq=100"),
        [
            (Verdict.MISSING, "gw.0", 100, 100),
            (Verdict.MISSING, "gw.0", 704, (1 << 62) - 1),
            (Verdict.EDITED, "gw.0", 1 << 62, None),
        ],
    ),
    "a segment that begins far away": (
        lambda data: forgery.execute(
            Path(shutil.copy(the_segment(data), the_segment(data).with_name(f"{'9' * 12}.db"))),
            "DELETE FROM leaf",
            f"UPDATE meta SET value = {'9' * 12} WHERE key = 'first_seq'",
        ),
        [(Verdict.MISSING, "gw.0", 704, 999_999_999_998)],
    ),
    "records deleted in the open tile": (
        lambda data: forgery.execute(the_segment(data), "DELETE FROM leaf WHERE seq BETWEEN 600 AND 602"),
        [(Verdict.MISSING, "gw.0", 600, 602)],
    ),
    "two records swapped": (
        lambda data: forgery.execute(
            the_segment(data),
            "UPDATE leaf SET seq = -1 WHERE seq=10",
            "UPDATE leaf SET seq = 10 WHERE seq=20",
            "UPDATE leaf SET seq = 20 WHERE seq=-1",
        ),
        [(Verdict.EDITED, "gw.0", 10, None), (Verdict.EDITED, "gw.0", 20, None)],
    ),
    "the tail cut": (
        lambda data: forgery.execute(the_segment(data), "DELETE FROM leaf WHERE seq >= 690"),
        [(Verdict.TRUNCATED, "gw.0", 690, 703)],
    ),
    "the tail cut and every trace made consistent, without the key": (
        lambda data: forgery.rewrite(data / "ledger" / "gw.0", forgery.cut(10)),
        [(Verdict.TRUNCATED, "gw.0", 694, 703)],
    ),
    "a record and its tiles rewritten, without the key": (
        lambda data: forgery.rewrite(data / "ledger" / "gw.0", forgery.replaced(50)),
        [(Verdict.EDITED, "gw.0", 0, 300)],
    ),
    "history rewritten and signed again": (
        lambda data: (
            forgery.rewrite(data / "ledger" / "gw.0", forgery.replaced(50)),
            forgery.resign(data / "ledger", "gw.0"),
        )[0],
        [(Verdict.FORK, "gw.0", 301, None)],
    ),
    "the tail cut and signed again": (
        lambda data: (
            forgery.rewrite(data / "ledger" / "gw.0", forgery.cut(10)),
            forgery.resign(data / "ledger", "gw.0"),
        )[0],
        [(Verdict.REPLAYED, "gw.0", 694, 704), (Verdict.TRUNCATED, "gw.0", 694, 703)],
    ),
    "a shard dropped": (
        lambda data: forgery.remove(data / "ledger" / "gw.1"),
        [(Verdict.SHARD_MISSING, "gw.1", None, None)],
    ),
    "all prediction shards dropped": (
        lambda data: forgery.remove(data / "ledger"),
        [(Verdict.SHARD_MISSING, "gw.0", None, None), (Verdict.SHARD_MISSING, "gw.1", None, None)],
    ),
    "an old head presented as the newest": (
        lambda data: shutil.copy(data / "head-early", data / "ledger" / "gw.0" / "checkpoint"),
        [(Verdict.REPLAYED, "gw.0", 301, 704)],
    ),
    "a head with a forged size": (
        lambda data: (data / "ledger" / "gw.0" / "checkpoint").write_bytes(
            (data / "ledger" / "gw.0" / "checkpoint").read_bytes().replace(b"\n704\n", b"\n700\n")
        ),
        [(Verdict.BAD_SIGNATURE, "gw.0", 700, None)],
    ),
    "the head of another shard": (
        lambda data: shutil.copy(data / "ledger" / "gw.1" / "checkpoint", data / "ledger" / "gw.0" / "checkpoint"),
        [(Verdict.BAD_SIGNATURE, "gw.0", 102, None)],
    ),
    "an edit of the governance ledger": (
        lambda data: forgery.edit(segment.files(data / "governance" / "gov")[0], 1, "trusted", "thrusts"),
        [(Verdict.EDITED, "gov", 1, None)],
    ),
}


async def test_hashes_of_the_newest_records_that_were_forged_too_mislead_nobody(data: Path) -> None:
    """They name a record only where they lead to the signed root; else the verdict is the range that is in doubt."""
    forgery.edit(the_segment(data), 699)
    forgery.execute(data / "ledger" / "gw.0" / "checkpoints.db", "UPDATE tail SET hashes = randomblob(length(hashes))")
    assert found(verify_data(data)) == [(Verdict.EDITED, "gw.0", 301, 703)]
    forgery.execute(data / "ledger" / "gw.0" / "checkpoints.db", "DROP TABLE tail")
    assert found(verify_data(data)) == [(Verdict.EDITED, "gw.0", 301, 703)]


@pytest.mark.parametrize("case", CASES)
async def test_it_is_found_and_named(data: Path, case: str) -> None:
    act, expected = CASES[case]
    act(data)
    report = verify_data(data)
    assert found(report) == expected
    assert report.exit_status == 1
    status, text = standalone(data)
    assert status == 1, text


async def test_a_fork_shown_to_another_auditor_is_found_by_the_head_he_kept(data: Path) -> None:
    """Everything on the disk is rewritten and signed again, anchors included: only a head kept elsewhere tells."""
    forgery.rewrite(data / "ledger" / "gw.0", forgery.replaced(50))
    forgery.resign(data / "ledger", "gw.0")
    shutil.rmtree(data / "governance")
    assert verify_data(data).findings == []
    assert found(verify_data(data, outside=[data / "head-early"])) == [(Verdict.FORK, "gw.0", 301, None)]


async def test_a_bit_flipped_anywhere_in_the_file_is_never_missed(data: Path) -> None:
    """Over the pages that hold leaves and tiles; a page header may make the file unreadable, which is a finding too."""
    path = the_segment(data)
    whole = path.read_bytes()
    leaf_at = [i for i in range(0, len(whole), 4_099) if whole[i] not in (0,)]
    for at in leaf_at[:60]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        report = verify_data(data)
        if report.ok:  # free bytes inside a page, and the file's counters, belong to no record
            assert _rows(path) == _rows_of(whole, path)
    path.write_bytes(whole)
    assert verify_data(data).ok


def _rows(path: Path) -> list[tuple[int, bytes]]:
    db = sqlite3.connect(path)
    try:
        tiles = "SELECT level * 1000000 + n, hashes FROM tile ORDER BY 1, 2"
        return db.execute("SELECT seq, CAST(leaf AS BLOB) FROM leaf UNION ALL " + tiles).fetchall()
    finally:
        db.close()


def _rows_of(whole: bytes, path: Path) -> list[tuple[int, bytes]]:
    copy = path.with_name("copy.sqlite")
    copy.write_bytes(whole)
    return _rows(copy)


async def test_calls_that_started_and_are_nowhere_are_counted(root: Path, open_shard: Open) -> None:
    counts = {"started": 3, "inflight": 0, "shed": 0, "unrecorded": 0}
    ledger = await open_shard(counters=lambda: counts)
    await fill(ledger, 2)
    await ledger.close()
    assert found(verify_data(root.parent)) == [(Verdict.COUNTS, "gw.0", 3, None)]


async def test_calls_whose_commit_failed_are_accounted_for(root: Path, open_shard: Open) -> None:
    ledger = await open_shard(counters=lambda: {"started": 5, "inflight": 1, "shed": 1, "unrecorded": 1})
    await fill(ledger, 2)
    await ledger.close()
    assert verify_data(root.parent).findings == []


async def test_a_clock_that_runs_backwards_is_named(root: Path, open_shard: Open) -> None:
    """Not by a little: clocks are corrected. A step of more than a minute is not a correction."""
    hour = 3_600_000_000
    ledger = await open_shard()
    for shift in (0, hour, hour - 30_000_000, 0, 0):
        await ledger.append(a_call(boot=ledger.boot, t_us=START_US + 2 * hour + shift))
    await ledger.close()
    report = verify_data(root.parent)
    assert [(f.verdict, f.first) for f in report.errors] == [(Verdict.CLOCK, 4), (Verdict.CLOCK, 6)]
    assert report.exit_status == 1
    assert verify_data(root.parent, clock_tolerance_us=4 * hour).ok


@pytest.mark.parametrize(("seconds", "anchored"), [(200, True), (200, False), (400, True), (400, False)])
async def test_records_that_nobody_anchored_for_minutes_are_a_warning(
    root: Path, open_shard: Open, seconds: int, anchored: bool
) -> None:
    ledger = await open_shard()
    await fill(ledger, 5)
    if anchored:
        keeper = Keeper(root.parent, clock_us=clock_us, anchor_s=0)
        await keeper.open({"version": "test"})
        await keeper.step()
        await keeper.close()
    await ledger.append(a_call(boot=ledger.boot, t_us=clock_us() + seconds * 1_000_000))
    report = verify_data(root.parent)
    expected = [(Verdict.UNANCHORED, "gw.0", 6 if anchored else 0, 6)] if seconds > 300 else []
    assert found(report) == expected
    assert report.exit_status == 0


def test_a_finding_reads_like_a_sentence() -> None:
    assert str(Finding(Verdict.MISSING, "gw.0", "gone", 3, 5)) == "MISSING(3-5) gw.0: gone"
    assert str(Finding(Verdict.EDITED, "gw.0", "changed", 3)) == "EDITED(3) gw.0: changed"
    assert str(Finding(Verdict.SHARD_MISSING, "gw.0", "gone")) == "SHARD_MISSING gw.0: gone"


async def test_what_a_newer_version_wrote_cannot_be_checked_and_is_not_called_missing(data: Path) -> None:
    forgery.execute(the_segment(data), "PRAGMA user_version=99")
    report = verify_data(data)
    assert found(report) == [(Verdict.CANNOT, "gw.0", None, None)]
    assert report.exit_status == 2
