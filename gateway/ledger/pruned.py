"""Which records are gone after their time, and whether the log itself says so.

A pruned segment and one that somebody emptied look alike: their hashes are in the tiles, so the tree still verifies.
What tells them apart is the record ``erase`` that the shard's writer appends for what it pruned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from gateway.ledger import events, orders
from gateway.ledger.checkpoint import decimal
from gateway.ledger.note import BadNote
from gateway.ledger.reader import ShardReader
from gateway.ledger.verdict import Finding, Verdict


def spans(records: object) -> list[range]:
    """The records that a record ``erase`` names, as ``a`` or ``a-b``; what is no such list, or no such text, is passed
    over."""
    found = []
    for text in records if isinstance(records, list | tuple) else ():
        first, _, last = str(text).partition("-")
        with suppress(BadNote):
            found.append(range(decimal(first), decimal(last or first) + 1))
    return found


class Pruned:
    """The spans that segments say were pruned, against the records that account for them."""

    def __init__(self, spans: Iterable[range] = ()) -> None:
        self._spans = list(spans)
        self._told: list[range] = []

    def covers(self, first: int, end: int) -> bool:
        """True when one segment says that all of ``[first, end)`` was pruned."""
        return any(first in span and end - 1 in span for span in self._spans)

    def take(self, fields: Mapping[str, object]) -> None:
        """The fields of a record ``erase``; those about payloads or keys are passed over, and so is nonsense."""
        if fields.get("what") == "leaf":
            self._told += spans(fields.get("records"))

    def untold(self) -> list[range]:
        """Spans that no record accounts for, in order."""
        return [span for span in self._spans if not any(span[0] in told and span[-1] in told for told in self._told)]

    def judge(self, reader: ShardReader, directory: Path, size: int) -> list[Finding]:
        """What is wrong with spans that the first ``size`` records do not account for. Raises: LedgerError.

        A gateway that prunes right now, or died while it did, has the order still; one that has finished since has
        appended the record behind ``size``.
        """
        if not self.untold():
            return []
        pruning = any(order.kind == "prune" for _, order in orders.waiting(directory))
        while fresh := reader.read(size):
            for _, leaf in fresh:
                if b'"kind":"erase"' in leaf[:40]:
                    self.take(events.decode(leaf).fields)
            size += len(fresh)
        verdict, text = (
            (Verdict.CANNOT, "an order to prune is not done yet: verify again when the gateway has carried it out")
            if pruning
            else (Verdict.MISSING, "gone as if pruned, but no record says so")
        )
        return [Finding(verdict, directory.name, text, span[0], span[-1]) for span in self.untold()]
