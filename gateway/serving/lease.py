"""One version in the manager's hands, lent for the length of a ``with`` block."""

from __future__ import annotations

import asyncio

from gateway.errors import ModelUnavailable
from gateway.serving.servable import Loader, Servable
from gateway.serving.version_policy import State
from gateway.types import ServableId


class Slot:
    """One version and its life. Mutable; owned by the manager, touched only on the event loop.

    A ``with`` block borrows its servable, which stays loaded while any such lease is out.

    ``leases`` counts the calls that hold the servable. ``reserved_bytes`` is its share of the memory budget,
    ``starved`` that its load failed for want of it, ``unserved`` that it is of a kind which is not served here.
    ``departures`` counts how often it began to unload.
    """

    __slots__ = (
        "_idle",
        "aspired",
        "departures",
        "id",
        "leases",
        "loader",
        "reason",
        "reserved_bytes",
        "servable",
        "starved",
        "state",
        "unserved",
    )

    def __init__(self, loader: Loader) -> None:
        self.id: ServableId = loader.id
        self.loader = loader
        self.state = State.NEW
        self.reason = ""
        self.aspired = True
        self.servable: Servable | None = None
        self.leases = 0
        self.departures = 0
        self.reserved_bytes = 0
        self.starved = False
        self.unserved = False
        self._idle: asyncio.Event | None = None

    def loaded(self) -> Servable:
        """The servable. Raises: ModelUnavailable when there is none."""
        if self.servable is None:
            raise ModelUnavailable(
                f"Request for unknown model: '{self.id.name}' version {self.id.version} is not at ready state"
            )
        return self.servable

    def idle(self) -> asyncio.Event:
        """Set as soon as no lease is out. Whoever has waited for it looks again: others may have been taken."""
        if self._idle is None:
            self._idle = asyncio.Event()
            if not self.leases:
                self._idle.set()
        return self._idle

    def take(self) -> Servable:
        """Lend the servable until ``give_back``. Raises: ModelUnavailable when there is none."""
        servable = self.loaded()
        self.leases += 1
        return servable

    def give_back(self) -> None:
        """End one lease."""
        self.leases -= 1
        if self._idle is not None and not self.leases:
            self._idle.set()
            self._idle = None

    def __enter__(self) -> Servable:
        return self.take()

    def __exit__(self, *_: object) -> None:
        self.give_back()
