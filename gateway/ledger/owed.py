"""How many records a shard's writer owes, in a file that outlives it; and what it still owed when it died.

A call that began is owed a record. Who is killed leaves calls without one, and nobody else knows of them. So the number
of records that are due is kept in a page of memory that the kernel writes to a file: to raise it costs no system call,
and it survives any death of the process. Together with the records that are there it says how many are not.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from gateway.ledger import events
from gateway.ledger.errors import LedgerCorrupt
from gateway.ledger.ledger import Ledger
from gateway.ledger.reader import ShardReader
from gateway.ledger.reading import Int64, decoder_of

_PAGE = struct.Struct("<8s32s16sq")
_MAGIC = b"GWOWED01"
_OWED_AT = 7  # in numbers of eight bytes
_BATCH = 4_096
_LOOK = 100_000
"""Leaves that are looked at for the last beat of a writer; it writes one every 10,000."""


class OwedPage:
    """What the writer of one shard owes: ``place[0]`` is the number of records that are due, ``boot`` says since whose
    boot record. ``machine`` names this run of the machine: what an earlier run left in the file may be old, and is not
    believed. For the one process that holds the shard."""

    def __init__(self, path: Path, *, machine: str) -> None:
        self._path = path
        self._machine = machine.encode()[:32].ljust(32, b"\0")
        self._map: mmap.mmap
        self.place: memoryview[int]

    def open(self) -> None:
        """Map the file, made if it is not there. Raises: OSError."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(fd, _PAGE.size)
            self._map = mmap.mmap(fd, _PAGE.size)
        finally:
            os.close(fd)
        self.place = memoryview(self._map).cast("q")[_OWED_AT:]

    @property
    def boot(self) -> str:
        """Whose number this is; "" if nobody's that can be believed."""
        magic, machine, boot, _ = _PAGE.unpack(self._map)
        return boot.decode("ascii", "replace") if (magic, machine) == (_MAGIC, self._machine) else ""

    def begin(self, boot: str) -> None:
        """Nothing is due yet since ``boot``. What was due before must have been settled."""
        self._map[:] = _PAGE.pack(_MAGIC, self._machine, boot.encode(), 0)


class _Line(msgspec.Struct, gc=False):
    kind: str
    boot: str = ""
    fields: Mapping[str, bool | Int64 | str | list[str]] = {}


_read = decoder_of(_Line)


async def settle(
    ledger: Ledger, root: Path, page: OwedPage, *, clock_us: Callable[[], int]
) -> Mapping[str, events.Value]:
    """Write down what an earlier writer of this shard left behind, if it died, then begin the page anew.

    Returns the fields of the ``recover`` event when it is durable, {} if there was nothing to say. To be called by the
    shard's writer between its boot record and its first call; whatever is interrupted is done by the next one.

    Raises: LedgerUnavailable, LedgerError.
    """
    fields = left_behind(root, ledger.shard, owner=page.boot, owed=page.place[0], own=ledger.boot)
    if fields:
        reason = "process_died" if "owed" in fields else "count_lost"
        await ledger.append(events.event("recover", boot=ledger.boot, t_us=clock_us(), reason=reason, fields=fields))
    page.begin(ledger.boot)
    return fields


def left_behind(root: Path, shard: str, *, owner: str, owed: int, own: str) -> Mapping[str, events.Value]:
    """What the process ``owner``, to which ``owed`` records were due, has not written: the fields ``after`` (its boot),
    ``owed``, ``recorded`` and ``unanswered``. {} if it ended in order, or this was written down already.

    Without an ``owner`` it is not known how many are missing: ``after`` alone, if the last process before ``own`` died.

    Raises: LedgerError.
    """
    reader = ShardReader(root, shard)
    try:
        if not owner:
            return _last_death(reader, own)
        recorded = _recorded(reader, owner)
    finally:
        reader.close()
    if recorded is None:
        return {}
    return {"after": owner, "owed": owed, "recorded": recorded, "unanswered": owed - recorded}


def _recorded(reader: ShardReader, boot: str) -> int | None:
    """How many calls since ``boot`` have the record that was due; None if nothing of it is open.

    From the newest record back to its last beat, which says how many there were.
    """
    recorded = 0
    for line in _newest_first(reader):
        if line.kind == "recover" and line.fields.get("after") == boot:
            return None
        if line.boot != boot:
            continue
        if line.kind == "shutdown":
            return None
        if line.kind == "call":
            recorded += 1
        elif line.kind == "recover":
            recorded -= found(reader, line.fields)
        elif line.kind == "beat" and "started" in line.fields:
            count = {name: value for name, value in line.fields.items() if isinstance(value, int)}
            others = count.get("shed", 0) + count.get("unrecorded", 0) + count.get("inflight", 0)
            return recorded + count["started"] - others
        elif line.kind == "boot":
            return recorded
    return None


def _last_death(reader: ShardReader, own: str) -> Mapping[str, events.Value]:
    settled: set[object] = set()
    for line in _newest_first(reader):
        if line.boot == own:
            continue
        if line.kind == "recover":
            settled.add(line.fields.get("after"))
        if line.kind == "shutdown" or line.boot in settled:
            return {}
        return {"after": line.boot}
    return {}


def found(reader: ShardReader, fields: Mapping[str, object]) -> int:
    """How many calls a ``recover`` event found on disk after their commit had failed: their callers were told
    UNAVAILABLE, so no record was due any more. Raises: LedgerCorrupt."""
    first, last = fields.get("found_first"), fields.get("found_last")
    if not isinstance(first, int) or not isinstance(last, int):
        return 0
    calls, seq = 0, max(first, 0)
    while seq <= last and (batch := reader.read(seq, min(_BATCH, last - seq + 1))):
        calls += sum(b'"kind":"call"' in leaf[:64] for number, leaf in batch if number <= last)
        seq = batch[-1][0] + 1
    return calls


def _newest_first(reader: ShardReader) -> Iterator[_Line]:
    end = reader.size()
    last = max(0, end - _LOOK)
    while end > last:
        first = max(last, end - _BATCH)
        for _, leaf in reversed(reader.read(first, end - first)):
            with contextlib.suppress(LedgerCorrupt):  # whatever it was: to verify is not what this is for
                yield _read(leaf)
        end = first
