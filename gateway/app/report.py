"""What a worker tells the observer of itself, once in a while, in its state file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from gateway.app.clocks import clock_us
from gateway.app.policies import Policies
from gateway.ledger.shard import ShardLedger
from gateway.observer.state import LedgerState, ModelState, WorkerState
from gateway.pipeline.admission import Admission
from gateway.serving.manager import Manager

_EVERY_S = 0.5


class Reporter:
    """Writes one worker's state file twice a second. ``ready`` is also what the worker itself answers."""

    def __init__(
        self,
        *,
        folder: Path,
        index: int,
        models: Manager,
        policies: Policies,
        ledger: ShardLedger,
        admission: Admission,
        clock: Callable[[], int] = clock_us,
    ) -> None:
        self._folder = folder
        self._index = index
        self._models = models
        self._policies = policies
        self._ledger = ledger
        self._admission = admission
        self._clock = clock
        self._started_us = clock()
        self._leaving = False

    @property
    def ready(self) -> bool:
        """Whether a call sent here now would be served: not leaving, and the ledger takes records."""
        return not self._leaving and not self._ledger.fault

    def leave(self) -> None:
        """Say from now on that this worker is not ready; write it at once."""
        self._leaving = True
        self.state().write(self._folder)

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            self.state().write(self._folder)
            await asyncio.sleep(_EVERY_S)

    def state(self) -> WorkerState:
        """The state as it is now."""
        fault = self._ledger.fault
        return WorkerState(
            worker=self._index,
            pid=os.getpid(),
            started_us=self._started_us,
            time_us=self._clock(),
            ready=self.ready,
            reason="shutting down" if self._leaving else fault,
            models=tuple(
                ModelState(name=s.name, version=s.version, state=s.state, reason=s.reason, digest=s.digest)
                for s in self._models.index()
            ),
            policy=self._policies.state(),
            ledger=LedgerState(ok=not fault, error=fault, shard=self._ledger.shard),
            inflight=self._admission.inflight,
            started=self._admission.admitted,
        )
