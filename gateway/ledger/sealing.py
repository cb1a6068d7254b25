"""Closed segments: read-only files without a log, which any copy of them alone can be read from.

The shard's writer seals what it left behind; what upkeep changes later is opened for that and sealed again.
"""

from __future__ import annotations

import itertools
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.ledger import segment
from gateway.ledger.segment import Segment

READ_ONLY = 0o444

log = logging.getLogger(__name__)


def is_sealed(path: Path) -> bool:
    """Whether nobody may write the file. Raises: OSError."""
    return not path.stat().st_mode & 0o222


def closed(directory: Path) -> list[tuple[Path, int]]:
    """The segments behind the live one, each with the number that the next one begins with."""
    return [(path, segment.first_seq(after)) for path, after in itertools.pairwise(segment.files(directory))]


def seal_closed(directory: Path) -> list[Path]:
    """Seal every closed segment of a shard that is not; those in use are left for the next time.

    For the shard's writer. Raises: LedgerError naming a damaged one, OSError.
    """
    return [path for path, _ in closed(directory) if not is_sealed(path) and _seal(path, directory.name)]


@contextmanager
def reopened(path: Path, shard: str) -> Iterator[Segment]:
    """A closed segment, open for a change and sealed again afterwards if it was. Raises: LedgerError, OSError."""
    sealed = is_sealed(path)
    if sealed:
        path.chmod(0o644)
    try:
        opened = Segment.open(path, shard, check=False, live=False)
        try:
            yield opened
        finally:
            opened.close()
    finally:
        if sealed:
            path.chmod(READ_ONLY)


def _seal(path: Path, shard: str) -> bool:
    """The pages are looked at last, which takes longest: not again and again while somebody reads the file."""
    opened = Segment.open(path, shard, check=False, live=False)
    try:
        if not opened.end_log():
            return False
    except sqlite3.OperationalError as error:
        log.info("ledger.segment_in_use", extra={"segment": str(path), "error": str(error)})
        return False
    finally:
        opened.close()
    Segment.open(path, shard, live=False).close()
    path.chmod(READ_ONLY)
    return True
