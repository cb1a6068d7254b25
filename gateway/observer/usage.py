"""Usage as a fold over records: who used which model, hour by hour, exactly.

Never bill from metrics: they sample, overflow and hide principals. Here each recorded prediction lands in exactly
one row and every other record is counted by its kind, so all add up to the ledger's count; ``reconcile`` proves it.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from gateway.ledger.record import Record

HOUR_US = 3_600_000_000


class Key(NamedTuple):
    """What a row is about. ``hour_us`` is the start of the UTC hour in which the call was received."""

    hour_us: int
    tenant: str
    principal: str
    model: str
    version: str


class Sums(msgspec.Struct, kw_only=True):
    """What was used. ``requests`` counts every recorded prediction; ``rows``, bytes and ``compute_us`` those answered
    (one that failed or was denied is counted, and costs nothing)."""

    requests: int = 0
    answered: int = 0
    denied: int = 0
    failed: int = 0
    rows: int = 0
    in_bytes: int = 0
    out_bytes: int = 0
    compute_us: int = 0

    def add(self, other: Sums) -> None:
        """Add ``other`` to these sums."""
        for field in self.__struct_fields__:
            setattr(self, field, getattr(self, field) + getattr(other, field))


class Usage:
    """Rows of usage. ``predictions`` counts what is in them, ``others`` all other records: by kind, or by method for
    calls that are no prediction (metadata, repository)."""

    def __init__(self) -> None:
        self.rows: dict[Key, Sums] = {}
        self.predictions = 0
        self.others: dict[str, int] = {}

    def apply(self, record: Record) -> Key | None:
        """Fold one record; returns the key of the row it changed, None for what is no prediction."""
        if not is_prediction(record):
            kind = record.method.rpartition("/")[2] if record.kind == "call" else record.kind
            self.others[kind] = self.others.get(kind, 0) + 1
            return None
        self.predictions += 1
        key = key_of(record)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = Sums()
        row.requests += 1
        if record.outcome == "answered":
            row.answered += 1
            row.rows += record.rows
            row.in_bytes += record.in_b
            row.out_bytes += record.out_b
            row.compute_us += compute_us(record)
        elif record.outcome in ("denied", "unauthenticated"):
            row.denied += 1
        else:
            row.failed += 1
        return key


def is_prediction(record: Record) -> bool:
    """Whether a model was asked for: the calls that are metered."""
    return record.kind == "call" and record.method.rpartition("/")[2] in ("ModelInfer", "ModelStreamInfer")


def key_of(record: Record) -> Key:
    """The row that ``record`` belongs to. Model and version are "" where none was resolved."""
    hour = record.t_us - record.t_us % HOUR_US
    return Key(hour, record.tenant, record.principal, record.model, record.version)


def compute_us(record: Record) -> int:
    """Microseconds the model ran for this call: its share, by rows, of the batch that it was part of."""
    end = record.ph.get("infer")
    if end is None:
        return 0
    begin = max((at for phase, at in record.ph.items() if phase != "infer" and at <= end), default=0)
    spent = end - begin
    if record.batch_n > record.rows > 0:
        return spent * record.rows // record.batch_n
    return spent
