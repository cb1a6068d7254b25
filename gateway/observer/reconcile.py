"""Reads a whole ledger into usage, and proves that nothing was left out: the two counts must be equal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from gateway.ledger.errors import LedgerError
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.record import Record
from gateway.observer.followers import records
from gateway.observer.usage import Usage, is_prediction

BATCH = 4096


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """Where each record of the ledger went. ``ledger`` is what the shards say they hold, counted apart from reading."""

    ledger: int
    billed: int
    outside: int
    others: dict[str, int]
    broken: dict[str, str]

    @property
    def exact(self) -> bool:
        """True when every record is accounted for once and every shard could be read."""
        return not self.broken and self.ledger == self.billed + self.outside + sum(self.others.values())

    def __str__(self) -> str:
        kinds = "".join(f" + {count:,} {kind}" for kind, count in sorted(self.others.items()))
        outside = f" + {self.outside:,} outside the window" if self.outside else ""
        broken = "".join(f"; shard {shard} cannot be read: {error}" for shard, error in sorted(self.broken.items()))
        calls = f"{self.billed:,} prediction{'' if self.billed == 1 else 's'}"
        found = self.billed + self.outside + sum(self.others.values())
        sign = "=" if self.ledger == found else "≠"
        verdict = "exact" if self.exact else f"NOT EXACT, {self.ledger - found:,} records unaccounted for"
        return f"reconciled: {self.ledger:,} ledger records {sign} {calls}{outside}{kinds} ({verdict}){broken}"


def tally(
    root: Path, *, from_us: int, to_us: int, each: Callable[[Record], None] = lambda record: None
) -> tuple[Usage, Reconciliation]:
    """The usage of predictions received in ``from_us`` <= t < ``to_us``, over all shards; ``each`` sees each of them.

    Records committed after it began are not looked at, so the counts are of one moment for each shard.
    """
    usage, ledger, outside = Usage(), 0, 0
    broken: dict[str, str] = {}
    for shard in shards(root):
        reader = ShardReader(root, shard)
        try:
            size, first = reader.size(), reader.read(0, 1)
            ledger += size - first[0][0] if first else 0  # what was pruned is the archive's, not missing
            for record in _read(reader, shard, size):
                if is_prediction(record) and not from_us <= record.t_us < to_us:
                    outside += 1
                elif usage.apply(record) is not None:
                    each(record)
        except (LedgerError, sqlite3.Error) as error:
            broken[shard] = str(error)
        finally:
            reader.close()
    check = Reconciliation(ledger=ledger, billed=usage.predictions, outside=outside, others=usage.others, broken=broken)
    return usage, check


def _read(reader: ShardReader, shard: str, end: int) -> Iterator[Record]:
    position = 0
    while batch := reader.read(position, BATCH):
        for seq, record in records(shard, batch):
            if seq >= end:
                return
            yield record
        position = batch[-1][0] + 1
