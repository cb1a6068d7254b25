"""What a worker tells the observer of itself, once in a while, in its state file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from gateway.app.assembly import Parts
from gateway.app.certificates import Certificates
from gateway.app.clocks import clock_us
from gateway.observer.state import LedgerState, ModelState, WorkerState

EVERY_S = 0.5


class Reporter:
    """Writes one worker's state file twice a second. ``ready`` is also what the worker itself answers."""

    def __init__(
        self, have: Parts, index: int, *, certificates: Certificates, clock: Callable[[], int] = clock_us
    ) -> None:
        self._have = have
        self._certificates = certificates
        self._folder = have.data.state
        self._index = index
        self._clock = clock
        self._started_us = clock()
        self._leaving = False

    @property
    def ready(self) -> bool:
        """Whether calls should be sent here: not leaving, the ledger takes records and has room, policy decides."""
        return not self._reason()

    def _reason(self) -> str:
        if self._leaving:
            return "shutting down"
        ledger = self._have.ledger
        return ledger.fault or ledger.space.warning() or ("" if self._have.policies.ready else "no policy decides")

    def leave(self) -> None:
        """Say from now on that this worker is not ready; write it at once."""
        self._leaving = True
        self.state().write(self._folder)

    async def step(self) -> None:
        """Write the state as it is now. Raises: OSError."""
        self.state().write(self._folder)

    def state(self) -> WorkerState:
        """The state as it is now. Raises: OSError when a certificate was never readable."""
        fault, reason = self._have.ledger.fault, self._reason()
        return WorkerState(
            worker=self._index,
            pid=os.getpid(),
            started_us=self._started_us,
            time_us=self._clock(),
            ready=not reason,
            reason=reason,
            models=tuple(self._models()),
            policy=self._have.policies.state(),
            ledger=LedgerState(
                ok=not fault,
                error=fault,
                shard=self._have.ledger.shard,
                free=self._have.ledger.space.room().free,
            ),
            inflight=self._have.admission.inflight,
            certificates=self._certificates.expiries(),
        )

    def _models(self) -> Sequence[ModelState]:
        manager = self._have.models.manager
        waiting = manager.waiting()
        return [
            ModelState(
                name=row.name,
                version=row.version,
                state=row.state,
                reason=row.reason,
                digest=row.digest,
                waiting=waiting.get((row.name, row.version), 0),
            )
            for row in manager.index()
        ]
