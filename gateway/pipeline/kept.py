"""The policy input that was kept with a record, read back so that the call can be decided again."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeAlias

from gateway.ledger.errors import KeyMissing, LedgerCorrupt
from gateway.ledger.reader import ShardReader
from gateway.ledger.record import Record
from gateway.ledger.vault import Vault
from gateway.malformed import MALFORMED
from gateway.pipeline.payload import decode_payload

Kept: TypeAlias = bytes | str
"""The policy input kept with a record; as text, why there is none."""

NOT_RECORDED = "input not recorded"
NOT_RECORDED_BY_POLICY = "input not recorded: the obligation was log none"
ERASED = "input erased or expired"
REPEATS = "input not found: it repeats a decision that is not in its shard"

REMEMBERED = 50_000
"""Origins of repeated decisions, least lately used out first: more than a worker's cache ever holds at once."""


class KeptInputs:
    """The inputs kept with the records of one shard. For records in their order; not for two threads at once.

    A call that was decided from the cache has the input of the decision that it repeats.
    """

    def __init__(self, reader: ShardReader, vault: Vault, *, remembered: int = REMEMBERED) -> None:
        self._reader = reader
        self._vault = vault
        self._most = remembered
        self._origins: OrderedDict[str, Kept] = OrderedDict()

    def of(self, record: Record) -> Kept:
        """The input of ``record``, or why there is none. Raises: LedgerError when its segment cannot be read."""
        if record.cached:
            if record.cached_from not in self._origins:
                return REPEATS
            self._origins.move_to_end(record.cached_from)
            return self._origins[record.cached_from]
        kept = self.own(record)
        if record.allow:  # only allows are repeated
            self._origins[record.decision_id] = kept
            if len(self._origins) > self._most:
                self._origins.popitem(last=False)
        return kept

    def own(self, record: Record) -> Kept:
        """The input in the record's own payload. Raises: LedgerError."""
        if not record.pol_c:  # the commitment tells what never was from what is gone
            return NOT_RECORDED_BY_POLICY if record.payload == "none" else NOT_RECORDED
        sealed = self._reader.payload(record.seq)
        if sealed is None:
            return ERASED
        try:
            _, body = self._vault.open(sealed, record.prediction_id, record.tenant)
        except KeyMissing:  # the key was destroyed: that is how payloads are erased
            return ERASED
        try:
            return (decode_payload(body).policy if body else b"") or NOT_RECORDED
        except MALFORMED as error:
            raise LedgerCorrupt(f"the payload of {record.prediction_id} is none that we know ({error})") from error
