"""Processes that live under one configuration, from their first breath to their last: nothing in them is changed.

A new configuration is a new generation, which starts beside the one that serves and takes over when it is ready.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Collection, Coroutine, Sequence

from gateway.app.child import Brief
from gateway.app.process import Process
from gateway.config import Config

OBSERVER_GRACE_S = 15.0


class Generation:
    """Started together or not at all, kept alive, ended together. ``grace_s`` is what each gets to end in."""

    def __init__(self, processes: Sequence[Process], *, grace_s: float) -> None:
        self.processes = processes
        self._grace_s = grace_s
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of its processes."""
        return tuple(process.index for process in self.processes)

    async def start(self) -> None:
        """Return when all are ready. Raises: StartupError; those that did start are for ``stop`` then."""
        await together(*(process.start() for process in self.processes))

    def keep(self, tasks: asyncio.TaskGroup) -> None:
        """Restart what dies, by tasks of ``tasks``, until it is to end."""
        self._keepers = [tasks.create_task(process.keep()) for process in self.processes]

    async def stop(self) -> None:
        """End all of them: they tell that they leave, drain, and are killed after the grace. Safe to call twice."""
        await self._let_go()
        await asyncio.gather(*(process.stop(self._grace_s) for process in self.processes))

    async def relieve(self) -> None:
        """End all of them because others serve: they drain at once, and are killed after the grace."""
        await self._let_go()
        await asyncio.gather(*(process.relieve(self._grace_s) for process in self.processes))

    async def _let_go(self) -> None:
        keepers, self._keepers = self._keepers, []
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)


async def together(*starts: Coroutine[None, None, object]) -> None:
    """Return when all have ended; the first that raises cancels the others, and is raised when they are over."""
    tasks = [asyncio.create_task(start) for start in starts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def workers_of(config: Config, port: int, *, beside: Collection[int] = ()) -> Generation:
    """The workers that ``config`` asks for. Each gets the lowest number that is free ``beside`` others who still live,
    for a number is a shard of the ledger, which has one writer."""
    asked = config.server.workers
    count = (os.cpu_count() or 1) if asked == "auto" else asked
    numbers = tuple(itertools.islice((n for n in itertools.count() if n not in beside), count))
    text = config.model_dump_json()
    briefs = [Brief(role="worker", index=n, workers=numbers, port=port, config=text) for n in numbers]
    grace_s = config.server.grace_s + config.server.drain_delay_s + 5.0
    return Generation([Process(brief) for brief in briefs], grace_s=grace_s)


def observer_of(config: Config, port: int, workers: tuple[int, ...]) -> Generation:
    """The observer of ``workers``, under ``config``."""
    brief = Brief(role="observer", index=0, workers=workers, port=port, config=config.model_dump_json())
    return Generation([Process(brief)], grace_s=OBSERVER_GRACE_S)
