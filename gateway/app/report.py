"""What a worker tells the observer of itself, once in a while, in its state file."""

from __future__ import annotations

import os
from collections.abc import Callable

from gateway.app.assembly import Parts
from gateway.app.clocks import clock_us
from gateway.observer.state import LedgerState, ModelState, WorkerState

EVERY_S = 0.5


class Reporter:
    """Writes one worker's state file twice a second. ``ready`` is also what the worker itself answers."""

    def __init__(self, have: Parts, index: int, *, clock: Callable[[], int] = clock_us) -> None:
        self._have = have
        self._folder = have.data.state
        self._index = index
        self._clock = clock
        self._started_us = clock()
        self._leaving = False

    @property
    def ready(self) -> bool:
        """Whether a call sent here now would be served: not leaving, the ledger takes records, policy decides."""
        return not self._leaving and not self._have.ledger.fault and self._have.policies.ready

    def _reason(self) -> str:
        if self._leaving:
            return "shutting down"
        return self._have.ledger.fault or ("" if self._have.policies.ready else "no policy decides")

    def leave(self) -> None:
        """Say from now on that this worker is not ready; write it at once."""
        self._leaving = True
        self.state().write(self._folder)

    async def step(self) -> None:
        """Write the state as it is now. Raises: OSError."""
        self.state().write(self._folder)

    def state(self) -> WorkerState:
        """The state as it is now."""
        fault = self._have.ledger.fault
        return WorkerState(
            worker=self._index,
            pid=os.getpid(),
            started_us=self._started_us,
            time_us=self._clock(),
            ready=self.ready,
            reason="shutting down"
            if self._leaving
            else fault or ("" if self._have.policies.ready else "no policy decides"),
            models=tuple(
                ModelState(name=s.name, version=s.version, state=s.state, reason=s.reason, digest=s.digest)
                for s in self._have.models.manager.index()
            ),
            policy=self._have.policies.state(),
            ledger=LedgerState(ok=not fault, error=fault, shard=self._have.ledger.shard),
            inflight=self._have.admission.inflight,
            started=self._have.admission.admitted,
        )
