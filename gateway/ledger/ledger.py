"""What a ledger is to the request path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from gateway.errors import LedgerUnavailable
from gateway.types import Receipt

Encode: TypeAlias = Callable[[str, int], bytes]
"""Makes the leaf for a position: called once, with shard and sequence, by ``Ledger.enter``."""


class Payload(msgspec.Struct, frozen=True, gc=False):
    """What is kept beside a record and can be erased: salts of its commitments and, in mode ``full``, bodies.

    ``subject`` names whose data it is, so that it can be found for erasure (only a keyed digest is stored);
    ``expires_us`` is when retention ends (wall clock), 0 for the ledger's default.
    """

    salts: bytes
    body: bytes = b""
    subject: str = ""
    tenant: str = ""
    expires_us: int = 0


class Waiter(Protocol):
    """Hears once, on the event loop, what became of a record. What it raises is logged: others are to hear, too."""

    def recorded(self, receipt: Receipt) -> None:
        """The record is on stable storage."""
        ...

    def unrecorded(self, error: LedgerUnavailable) -> None:
        """The commit failed."""
        ...


class Awaited(asyncio.Future[Receipt]):
    """A waiter for tasks. One that was cancelled hears no more; a failure that nobody awaits is no complaint."""

    def recorded(self, receipt: Receipt) -> None:
        """See ``Waiter``."""
        if not self.done():
            self.set_result(receipt)

    def unrecorded(self, error: LedgerUnavailable) -> None:
        """See ``Waiter``."""
        if not self.done():
            self.set_exception(error)
            self.exception()


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

    def enter(self, encode: Encode, payload: Payload | None, waiter: Waiter) -> None:
        """Number, encode and queue one record; ``waiter`` hears when it is on stable storage, never before.

        It hears with all of its commit, one after the other and without a turn of the loop in between. When
        ``encode`` raises, nothing was numbered and nobody will hear.

        Raises: LedgerUnavailable when the ledger is closed, failed, or its queue is full.
        """
        ...

    def append(self, encode: Encode, payload: Payload | None = None) -> asyncio.Future[Receipt]:
        """As ``enter``, for a task: the future resolves when the record is on stable storage.

        A plain call: the record is queued even if the task that awaits the future is cancelled. The future fails with
        LedgerUnavailable when the commit failed. Raises: as ``enter``.
        """
        ...

    async def close(self) -> None:
        """Commit what is queued, write the shutdown record, release the lock."""
        ...
