"""The observer: follows the ledger, serves the admin HTTP, and runs what others ask it to run each second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from starlette.routing import BaseRoute

from gateway.observer import state
from gateway.observer.database import Database
from gateway.observer.followers import Follower, MetricsFold, UsageFold
from gateway.observer.gauges import WorkerCounters, observer_gauges, worker_gauges
from gateway.observer.http import admin_app, admin_server, listen
from gateway.observer.metrics import Metrics
from gateway.observer.openmetrics import render
from gateway.observer.readiness import Readiness, judge
from gateway.observer.tail import Tail

log = logging.getLogger("gateway.observer")

Step = Callable[[], Awaitable[None] | None]

POLL_S = 0.05
COMMIT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator may say about the observer. ``config`` is shown at /config, so it holds no secrets."""

    host: str = "127.0.0.1"
    port: int = 8002
    workers: int = 1
    version: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    max_tenants: int = 200
    tenants: tuple[str, ...] = ()


class Observer:
    """One per gateway, in its own process and loop. ``tail`` reads the ledger; the folds live in ``data/observer``.

    ``steps`` are called once a second; one that raises is logged and called again. ``chain_ok`` is asked at each
    scrape. ``routes`` are served beside ours. ``clock_us`` is the wall clock.
    """

    def __init__(
        self,
        data: Path,
        tail: Tail,
        settings: Settings,
        *,
        clock_us: Callable[[], int],
        steps: Sequence[Step] = (),
        chain_ok: Callable[[], bool] | None = None,
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        self._data = data
        self._tail = tail
        self._settings = settings
        self._clock_us = clock_us
        self._steps = steps
        self._chain_ok = chain_ok
        self._routes = routes
        self._start_us = 0
        self.metrics = Metrics(max_tenants=settings.max_tenants, tenants=settings.tenants)
        self._workers = WorkerCounters()
        folder = data / "observer"
        self._followers = (
            Follower("metrics", MetricsFold(self.metrics), Database(folder / "metrics.db", MetricsFold.SCHEMA), tail),
            Follower("usage", UsageFold(), Database(folder / "usage.db", UsageFold.SCHEMA), tail),
        )

    async def run(self, stop: asyncio.Event, ready: Callable[[int], None] = lambda port: None) -> None:
        """Serve and follow until ``stop`` is set, then fold what is left, commit and close.

        ``ready`` is told the bound admin port once it listens.

        Raises: OSError when the address cannot be bound or the data folder not written.
        """
        self._start_us = self._clock_us()
        with listen(self._settings.host, self._settings.port) as socket:
            for follower in self._followers:
                follower.open()
            server = admin_server(
                admin_app(
                    metrics=self.scrape,
                    readiness=self.readiness,
                    version=self._settings.version,
                    config=self._settings.config,
                    routes=self._routes,
                )
            )
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(server.serve(sockets=[socket]))
                    tasks.create_task(self._follow(stop))
                    tasks.create_task(self._run_steps(stop))
                    ready(socket.getsockname()[1])
                    await stop.wait()
                    server.should_exit = True
            finally:
                for follower in self._followers:
                    follower.close()

    async def _follow(self, stop: asyncio.Event) -> None:
        """Fold as records come; commit about once a second. After ``stop``, one last pass to the ledger's end."""
        loop = asyncio.get_running_loop()
        committed = loop.time()
        while True:
            last = stop.is_set()
            folded = 0
            for follower in self._followers:
                folded += follower.step()
                await asyncio.sleep(0)
            if loop.time() - committed >= COMMIT_S:
                for follower in self._followers:
                    follower.commit()
                committed = loop.time()
            if folded == 0:
                if last:
                    return
                await wait(stop, POLL_S)

    async def _run_steps(self, stop: asyncio.Event) -> None:
        while True:
            self._workers.see(state.read(self._data / "state"))
            for step in self._steps:
                try:
                    result = step()
                    if result is not None:
                        await result
                except Exception:  # one broken step must not stop the others, nor the observer
                    log.exception("observer.step_failed", extra={"step": getattr(step, "__qualname__", repr(step))})
            if stop.is_set():
                return
            await wait(stop, 1.0)

    def lags_us(self) -> dict[str, int]:
        """How far each follower is behind, in microseconds."""
        now = self._clock_us()
        return {follower.name: follower.lag_us(now) for follower in self._followers}

    def readiness(self) -> Readiness:
        """Judge the gateway as it is now."""
        return judge(
            state.read(self._data / "state"),
            workers=self._settings.workers,
            now_us=self._clock_us(),
            lags_us=self.lags_us(),
            broken=self._tail.broken,
        )

    def scrape(self, openmetrics: bool) -> bytes:
        """All families as text."""
        states = state.read(self._data / "state")
        self._workers.see(states)
        sizes = {shard: self._tail.size(shard) for shard in self._tail.shards()}
        return render(
            [
                *self.metrics.families(),
                *self._workers.families(),
                *worker_gauges(states, self._clock_us()),
                *observer_gauges(
                    sizes=sizes,
                    lags_us=self.lags_us(),
                    version=self._settings.version,
                    chain_ok=self._chain_ok,
                    start_us=self._start_us,
                ),
            ],
            openmetrics=openmetrics,
        )


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Return when ``event`` is set or ``seconds`` have passed."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
