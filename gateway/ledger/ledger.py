"""What a ledger is to the request path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from gateway.types import Receipt

Encode: TypeAlias = Callable[[str, int], bytes]
"""Makes the leaf for a position: called once, with shard and sequence, by ``Ledger.append``."""


class Payload(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is kept beside a record and can be erased: salts of its commitments and, in mode ``full``, bodies.

    ``subject`` names whose data it is, so that it can be found for erasure (only a keyed digest is stored);
    ``expires_us`` is when retention ends (wall clock), 0 for the ledger's default.
    """

    salts: bytes
    body: bytes = b""
    subject: str = ""
    tenant: str = ""
    expires_us: int = 0


class Ledger(Protocol):
    """An append-only shard with exactly one writer. All methods are for the event loop's thread."""

    @property
    def shard(self) -> str:
        """The shard's name, part of every prediction id."""
        ...

    @property
    def boot(self) -> str:
        """Id of this process's boot record."""
        ...

    def append(self, encode: Encode, payload: Payload | None = None) -> asyncio.Future[Receipt]:
        """Number, encode and queue one record; the future resolves when it is on stable storage, never before.

        A plain call: the record is queued even if the task that awaits the future is cancelled. When ``encode``
        raises, nothing was numbered. The future fails with LedgerUnavailable when the commit failed.

        Raises: LedgerUnavailable when the ledger is closed, failed, or its queue is full.
        """
        ...

    async def close(self) -> None:
        """Commit what is queued, write the shutdown record, release the lock."""
        ...
