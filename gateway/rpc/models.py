"""What the protocol needs to know of models; the manager of ``serving`` knows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.serving.servable import Servable
from gateway.serving.version_policy import State
from gateway.types import ServableId


class Row(Protocol):
    """One version in the index."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def state(self) -> State: ...

    @property
    def reason(self) -> str: ...


class Models(Protocol):
    """The models of this worker, as they are now. Called on the event loop; nothing here waits."""

    def servable(self, id_: ServableId) -> Servable:
        """A loaded version, for what can be known of it. Raises: ModelUnavailable when it is gone."""
        ...

    def index(self) -> Sequence[Row]:
        """Every version known, by name, then by number."""
        ...

    def all_ready(self) -> bool:
        """Whether every version that should serve does."""
        ...


def ready_versions(models: Models, name: str) -> list[str]:
    """The versions of ``name`` that serve, ascending."""
    return [row.version for row in models.index() if row.name == name and row.state is State.READY]
