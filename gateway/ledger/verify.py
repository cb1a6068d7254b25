"""Does a whole ledger hold? One answer over all shards of a data directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gateway.ledger.errors import LedgerError
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.scan import CLOCK_TOLERANCE_US, Head, Scan
from gateway.ledger.verdict import Finding, Report, Verdict


def verify(
    root: Path,
    *,
    heads: Mapping[str, Sequence[Head]] | None = None,
    only: Sequence[str] = (),
    clock_tolerance_us: int = CLOCK_TOLERANCE_US,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Read every shard under ``root`` and compare it with ``heads`` (by shard) and with itself.

    ``progress`` is told how many leaves were just read.
    """
    report, vouched = Report(), heads or {}
    found = shards(root)
    if not root.is_dir():
        report.findings.append(Finding(Verdict.CANNOT, "-", f"there is no ledger at {root}"))
    for shard in sorted({*found, *vouched}):
        if only and shard not in only:
            continue
        if shard not in found:
            newest = max(vouched[shard], key=lambda head: head.size)
            report.findings.append(
                Finding(Verdict.SHARD_MISSING, shard, f"{newest.source} covers {newest.size} records of it")
            )
            continue
        scan = Scan(root, shard, vouched.get(shard, ()), clock_tolerance_us=clock_tolerance_us, progress=progress)
        scan.run()
        report.coverage.append(scan.coverage)
        report.findings += scan.findings
    return report


def total(root: Path) -> int:
    """Leaves under ``root``, for a progress bar; unreadable shards count 0."""
    count = 0
    for shard in shards(root):
        reader = ShardReader(root, shard)
        try:
            count += reader.size()
        except LedgerError:
            continue
        finally:
            reader.close()
    return count
