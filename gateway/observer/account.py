"""The account of a window: usage out of the closing, the newest records, and a proof that nothing was left out."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gateway.ledger.errors import LedgerError
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.record import Record
from gateway.observer.closing import Closed, Span, hours, read_closed
from gateway.observer.followers import records
from gateway.observer.reconcile import Reconciliation
from gateway.observer.usage import HOUR_US, Usage, is_prediction

BATCH = 4096


class Account:
    """Reads the ledger under ``root`` for predictions received in ``from_us`` <= t < ``to_us``; use once.

    With ``closing`` (the observer's ``usage.db``) only what it does not hold is read. ``usage`` is complete after
    ``read``, whose answer tells whether all records of all shards are accounted for, each at one moment.
    """

    def __init__(self, root: Path, from_us: int, to_us: int, *, closing: Path | None) -> None:
        self._root = root
        self._closing = closing
        self._from_us = from_us
        self._to_us = to_us
        self._ledger = 0
        self._outside = 0
        self._broken: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.usage = Usage()

    def read(
        self, each: Callable[[Record], None] | None = None, *, sizes: Mapping[str, int] | None = None
    ) -> Reconciliation:
        """Whole hours come out of the closing, parts of hours and what is newer out of the ledger. With ``each``,
        which sees every prediction, all of the window comes out of the ledger, and no more than the window.

        Records beyond ``sizes`` are not looked at: give it another account's to look at the same ones.
        """
        whole, partly = hours(self._from_us, self._to_us)
        if each is not None:
            whole, partly = range(0), [range(self._from_us - self._from_us % HOUR_US, self._to_us)]
        closed = Closed()
        if self._closing is not None:
            closed = read_closed(self._closing, whole=whole, partly=partly)
        self.usage.rows = dict(closed.rows)
        self.usage.others = dict(closed.others)
        self.usage.predictions = sum(row.requests for row in closed.rows.values())
        self._outside = closed.predictions - self.usage.predictions - sum(span.records for span in closed.spans)
        found = [shard for shard in shards(self._root) if sizes is None or shard in sizes]
        for shard in found:
            self._shard(shard, closed, each or (lambda record: None), sizes)
        for shard in closed.positions.keys() - set(found):
            self._ledger += closed.positions[shard]
            self._broken[shard] = f"it was followed to {closed.positions[shard]} and is gone"
        return Reconciliation(
            ledger=self._ledger,
            billed=self.usage.predictions,
            outside=self._outside,
            others=self.usage.others,
            broken=self._broken,
        )

    def _shard(
        self, shard: str, closed: Closed, each: Callable[[Record], None], sizes: Mapping[str, int] | None
    ) -> None:
        reader, position = ShardReader(self._root, shard), closed.positions.get(shard, 0)
        try:
            size, present = reader.size() if sizes is None else sizes[shard], reader.read(0, 1)
            self.sizes[shard] = size
            first = closed.counted[shard][0] if shard in closed.counted else present[0][0] if present else size
            self._ledger += size - first  # what was pruned before it was ever counted is the archive's, not missing
            if size < position:
                self._broken[shard] = f"it has {size} records and was followed to {position}"
            for span in closed.spans:
                if span.shard == shard:
                    self._part(reader, span, each)
            for record in _read(reader, shard, position, size):
                if not is_prediction(record):
                    self.usage.apply(record)
                else:
                    self._outside += not self._take(record, each)
        except (LedgerError, sqlite3.Error) as error:
            self._broken[shard] = str(error)
        finally:
            reader.close()

    def _part(self, reader: ShardReader, span: Span, each: Callable[[Record], None]) -> None:
        """Take what the window holds of an hour whose predictions lie in ``span``."""
        seen = 0
        for record in _read(reader, span.shard, span.first, span.last + 1):
            if is_prediction(record) and record.t_us - record.t_us % HOUR_US == span.hour_us:
                seen += 1
                self._outside += not self._take(record, each)
        if seen != span.records:
            self._broken[span.shard] = (
                f"{span.records - seen} of {span.records} predictions of an hour that the window cuts are gone "
                "(pruned?): ask for whole hours"
            )

    def _take(self, record: Record, each: Callable[[Record], None]) -> bool:
        if not self._from_us <= record.t_us < self._to_us:
            return False
        self.usage.apply(record)
        each(record)
        return True


def _read(reader: ShardReader, shard: str, position: int, end: int) -> Iterator[Record]:
    while position < end and (batch := reader.read(position, min(BATCH, end - position))):
        for seq, record in records(shard, batch):
            if seq >= end:
                return
            yield record
        position = batch[-1][0] + 1
