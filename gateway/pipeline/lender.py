"""Where the pipeline gets the models that it runs."""

from __future__ import annotations

from typing import Protocol

from gateway.serving.servable import Servable
from gateway.types import Permit


class Lease(Protocol):
    """A servable, lent: between ``take`` and ``give_back`` it stays loaded."""

    def take(self) -> Servable: ...

    def give_back(self) -> None: ...


class Lender(Protocol):
    """Lends the servable that a permit names."""

    def lease(self, permit: Permit) -> Lease:
        """Raises: ModelUnavailable when it is gone."""
        ...
