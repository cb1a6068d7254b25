"""Delivers what is made of records to someone outside, in order, at least once, and resumes where it stopped.

Its position moves only when the receiver took a parcel, so an outage of an hour loses nothing: the ledger is the
queue. What is made of a record has stable ids, so a receiver can tell a repetition. What lies further back than
``max_lag_us`` is skipped and counted, never in silence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from gateway.ledger.follower import Batch
from gateway.ledger.projection import Projection
from gateway.observer.cells import Counter
from gateway.observer.projections import Size, take_up

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Made_co = TypeVar("Made_co", covariant=True)

REFUSALS = 3
"""A receiver that takes an empty parcel but refuses this one so often will never take it."""


class NotDelivered(Exception):
    """The receiver did not take a parcel; it will be sent again."""


class Maker(Protocol[Made_co]):
    """Makes items of one leaf: none, if there is nothing to tell. Called once a leaf unless the process restarts."""

    def make(self, shard: str, seq: int, leaf: bytes) -> Sequence[Made_co]:
        """The items of this leaf."""
        ...

    def time_us(self, leaf: bytes) -> int:
        """When the leaf was written, 0 if it does not say."""
        ...

    def families(self) -> Iterator[Counter]:
        """What it counts."""
        ...


class Parcel(Generic[Item]):
    """Items made of the leaves before ``following``, in one message."""

    __slots__ = ("following", "items", "refused")

    def __init__(self, following: int, items: list[Item]) -> None:
        self.following = following
        self.items = items
        self.refused = 0


class Delivery(Generic[Item]):
    """A follower (``gateway.ledger.follower``) that sends. Give it a loop of its own: ``apply`` waits for a network.

    ``send`` tells whether the receiver took the items; it may raise nothing. An item that it refuses for good is
    dropped, unless ``give_up`` is false: then all wait for it. ``interrupt`` makes ``send`` give up waiting.
    ``delivered`` and ``dropped`` count items since the start.
    """

    def __init__(
        self,
        name: str,
        maker: Maker[Item],
        send: Callable[[Sequence[Item]], bool],
        path: Path,
        *,
        clock_us: Callable[[], int],
        max_items: int = 512,
        give_up: bool = True,
        interrupt: Callable[[], None] = lambda: None,
        max_lag_us: int = 24 * 3_600_000_000,
    ) -> None:
        self._name = name
        self._maker = maker
        self._send = send
        self._path = path
        self._clock_us = clock_us
        self._max_items = max_items
        self._give_up = give_up
        self._interrupt = interrupt
        self._max_lag_us = max_lag_us
        self._projection: Projection | None = None
        self._next: dict[str, int] = {}
        self._parcels: dict[str, Parcel[Item]] = {}
        self._stopping = False
        self.delivered = 0
        self.dropped = 0

    @property
    def name(self) -> str:
        """Its label in the lag metric."""
        return self._name

    def open(self, size: Size) -> None:
        """Restore the positions; damaged ones, or a ledger shorter than what was delivered, mean starting over.

        Raises: LedgerNewer, OSError, sqlite3.OperationalError.
        """
        self._projection, self._next = take_up(self._path, size)

    def position(self, shard: str) -> int:
        """The first leaf whose items were not yet taken."""
        return self._next.get(shard, 0)

    def apply(self, shard: str, batch: Batch) -> None:
        """Send what ``batch`` tells, parcel by parcel; the position follows each that was taken.

        Raises: NotDelivered; what was taken stays taken.
        """
        if self._stopping:
            raise NotDelivered(f"{self._name}: stopping")
        waiting = self._parcels.get(shard)
        if waiting is not None:
            self._deliver(shard, waiting)
        start = self.position(shard)
        for parcel in self._pack(shard, [leaf for leaf in batch if leaf[0] >= start]):
            self._parcels[shard] = parcel
            self._deliver(shard, parcel)

    def _pack(self, shard: str, batch: Batch) -> Iterator[Parcel[Item]]:
        items: list[Item] = []
        oldest = self._clock_us() - self._max_lag_us
        for seq, leaf in batch:
            made = self._maker.make(shard, seq, leaf)
            if made and self._maker.time_us(leaf) < oldest:
                self.dropped += len(made)
                continue
            items.extend(made)
            if len(items) >= self._max_items:
                yield Parcel(seq + 1, items)
                items = []
        if batch:
            yield Parcel(batch[-1][0] + 1, items)

    def _deliver(self, shard: str, parcel: Parcel[Item]) -> None:
        while parcel.items:
            part = parcel.items[: max(1, len(parcel.items) >> parcel.refused)]
            if self._send(part):
                self.delivered += len(part)
                parcel.refused = 0
            elif self._stopping or not self._send(()):
                raise NotDelivered(
                    f"{self._name}: the receiver did not take {len(part)} items; they will be sent again"
                )
            elif len(part) > 1 or (self._give_up and parcel.refused < REFUSALS):
                parcel.refused += 1
                continue
            elif not self._give_up:
                raise NotDelivered(f"{self._name}: the receiver refuses an item before {shard}/{parcel.following}")
            else:
                log.error(
                    "delivery.refused", extra={"follower": self._name, "shard": shard, "before": parcel.following}
                )
                self.dropped += 1
                parcel.refused = 0
            del parcel.items[: len(part)]
        self._advance(shard, parcel.following)
        self._parcels.pop(shard, None)

    def _advance(self, shard: str, following: int) -> None:
        if self._projection is None:
            raise NotDelivered(f"{self._name}: closed")
        with self._projection.advance(shard, following):
            self._next[shard] = following

    def families(self) -> Iterator[Counter]:
        """What the maker counts."""
        yield from self._maker.families()

    def stop(self) -> None:
        """Start no further delivery, and let the one under way end as soon as it can."""
        self._stopping = True
        self._interrupt()

    def close(self) -> None:
        """Close the positions' file."""
        if self._projection is not None:
            self._projection.close()
            self._projection = None
