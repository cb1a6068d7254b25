"""Does a whole ledger hold? One answer over all shards of a data directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gateway.ledger.errors import LedgerError
from gateway.ledger.heads import tail
from gateway.ledger.logkeys import Keyring
from gateway.ledger.notary import KEYRING
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.scan import CLOCK_TOLERANCE_US, Head, Scan
from gateway.ledger.verdict import Finding, Report, Verdict
from gateway.ledger.vouched import Vouched, read_head

PREDICTIONS, GOVERNANCE = "ledger", "governance"
"""Where the two ledgers lie below a data directory."""


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
    for shard in sorted({*found, *vouched}):
        if only and shard not in only:
            continue
        if shard not in found:
            newest = max(vouched[shard], key=lambda head: head.size)
            report.findings.append(
                Finding(Verdict.SHARD_MISSING, shard, f"{newest.source} covers {newest.size} records of it")
            )
            continue
        scan = Scan(
            root,
            shard,
            vouched.get(shard, ()),
            tail=tail(root / shard),
            clock_tolerance_us=clock_tolerance_us,
            progress=progress,
        )
        scan.run()
        report.coverage.append(scan.coverage)
        report.findings += scan.findings
    return report


def verify_data(
    data: Path,
    *,
    keyring: Path | None = None,
    outside: Sequence[Path] = (),
    only: Sequence[str] = (),
    clock_tolerance_us: int = CLOCK_TOLERANCE_US,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Everything under a data directory: predictions and governance, signed heads, anchors, heads from ``outside``.

    Signatures are checked with the keyrings beside the ledgers, or with ``keyring``, which is the better
    evidence: a copy that was taken along earlier.

    Raises: LedgerError when there is no ledger or no shard of a name in ``only``, or a file given from outside cannot
    be read.
    """
    found = [root for root in (data / PREDICTIONS, data / GOVERNANCE) if shards(root)]
    if not found:
        raise LedgerError(f"there is no ledger under {data}: give the directory that 'gateway serve --data' uses")
    governed = shards(data / GOVERNANCE)
    taken = [read_head(path) for path in outside]
    report = Report()
    for root in (data / PREDICTIONS, data / GOVERNANCE):
        governance = root.name == GOVERNANCE
        vouched = Vouched(Keyring(keyring or root / KEYRING))
        vouched.own(root)
        for shard, stored, source in taken:
            if (shard in governed) == governance:
                vouched.take(shard, stored, source)
        if not governance:
            vouched.anchors(data / GOVERNANCE)
        part = verify(root, heads=vouched.heads, only=only, clock_tolerance_us=clock_tolerance_us, progress=progress)
        report.coverage += part.coverage
        report.findings += [f for f in vouched.findings if not only or f.shard in only] + part.findings
        if not governance:
            report.findings += [f for item in part.coverage if (f := vouched.unanchored(item)) is not None]
    known = {item.shard for item in report.coverage} | {finding.shard for finding in report.findings}
    if strange := sorted(set(only) - known):
        there = ", ".join(name for root in found for name in shards(root))
        raise LedgerError(f"there is no shard {strange[0]!r} under {data}: there are {there}")
    return report


def ledgers(data: Path) -> list[Path]:
    """The roots below a data directory that hold records: predictions first, then governance."""
    return [root for root in (data / PREDICTIONS, data / GOVERNANCE) if shards(root)]


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
