"""The decision point of a worker: what a worker needs of it, and which engine the configuration names."""

from __future__ import annotations

from typing import Protocol

from gateway.app.data import DataDir
from gateway.app.embedded import Embedded
from gateway.app.remote import Remote
from gateway.config import Config
from gateway.observer.state import PolicyState
from gateway.policy.pdp import DecisionPoint


class Policies(Protocol):
    """What a worker needs of its policy engine."""

    @property
    def point(self) -> DecisionPoint:
        """Who decides."""
        ...

    @property
    def ready(self) -> bool:
        """Whether decisions can be made now."""
        ...

    def state(self) -> PolicyState:
        """What is in force, and why something newer is not."""
        ...

    async def step(self) -> None:
        """Look for changes. Never raises for a bad policy: the last good one stays."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


async def policies(config: Config, data: DataDir, *, leads: bool) -> Embedded | Remote:
    """The engine that the configuration names, open. Raises: StartupError."""
    if config.policy.engine == "embedded":
        embedded = Embedded(config, data, leads=leads)
        embedded.open()
        return embedded
    remote = Remote(config, data)
    remote.open()
    await remote.step()
    return remote
