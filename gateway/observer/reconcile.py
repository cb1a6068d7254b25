"""Whether an account of the ledger is whole: the two counts must be equal."""

from __future__ import annotations

import msgspec


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
