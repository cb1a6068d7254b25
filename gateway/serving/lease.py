"""One version in the manager's hands, and the lease that keeps it loaded."""

from __future__ import annotations

from collections.abc import Callable

from gateway.serving.servable import Loader, Servable
from gateway.serving.version_policy import State
from gateway.types import ServableId


class Slot:
    """One version and its life. Mutable; owned by the manager, touched only on the event loop.

    ``leases`` counts calls that hold the servable; ``released`` is called when it falls to zero.
    """

    __slots__ = ("aspired", "id", "leases", "loader", "reason", "released", "servable", "state")

    def __init__(self, loader: Loader) -> None:
        self.id: ServableId = loader.id
        self.loader = loader
        self.state = State.NEW
        self.reason = ""
        self.aspired = True
        self.servable: Servable | None = None
        self.leases = 0
        self.released: Callable[[], None] | None = None


class Lease:
    """Lends a servable for the length of a ``with`` block. While any lease is out, it stays loaded."""

    __slots__ = ("_servable", "_slot")

    def __init__(self, slot: Slot, servable: Servable) -> None:
        self._slot = slot
        self._servable = servable

    def __enter__(self) -> Servable:
        self._slot.leases += 1
        return self._servable

    def __exit__(self, *_: object) -> None:
        slot = self._slot
        slot.leases -= 1
        if slot.released is not None and not slot.leases:
            slot.released()
