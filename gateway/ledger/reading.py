"""Leaves as values, for those who read a ledger that anybody may have damaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeAlias, TypeVar

import msgspec

from gateway.ledger.errors import LedgerCorrupt
from gateway.malformed import MALFORMED

T = TypeVar("T")

Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What every number of a leaf is within: SQLite holds no others."""

Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
"""What the numbers of a call are within: all readers of JSON hold them exactly (RFC 8259, section 6), and sums of many
of them stay within 64 bits."""


def decoder_of(kind: type[T]) -> Callable[[bytes], T]:
    """What makes a ``kind`` of a leaf: it ignores fields that ``kind`` does not have.

    It raises: LedgerCorrupt, whatever is wrong with the bytes; its cause is what the decoder says.
    """
    decoder = msgspec.json.Decoder(kind)

    def read(leaf: bytes) -> T:
        try:
            return decoder.decode(leaf)
        except MALFORMED as error:
            raise LedgerCorrupt(f"a record cannot be read ({error}): 'gateway ledger verify' says which") from error

    return read
