"""What the protocol needs to know of models; the manager of ``serving`` knows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.serving.spec import TensorSpec
from gateway.types import ServableId


class Specs(Protocol):
    """The public side of a model's signature: tensors as callers see them, in the model's order."""

    @property
    def inputs(self) -> Sequence[TensorSpec]: ...

    @property
    def outputs(self) -> Sequence[TensorSpec]: ...


class Models(Protocol):
    """The models of this worker, as they are now. Called on the event loop; nothing here waits."""

    def signature(self, servable: ServableId) -> Specs:
        """Raises: ModelUnavailable when it is not loaded any more."""
        ...

    def versions(self, name: str) -> Sequence[str]:
        """The ready versions of ``name``, ascending."""
        ...

    def ready(self) -> bool:
        """Whether every model that should be served is ready."""
        ...
