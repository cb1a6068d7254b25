"""The observer: follows the ledger, serves the admin HTTP, and runs what others ask it to run each second."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from starlette.routing import BaseRoute

from gateway.ledger.follower import Follower, follow
from gateway.ledger.record import Record
from gateway.observer import state
from gateway.observer.delivery import Delivery
from gateway.observer.exporters import Exporter, trace_exporter
from gateway.observer.folds import MetricsFold, UsageFold
from gateway.observer.followers import FoldFollower
from gateway.observer.gauges import WorkerCounters, chain_gauge, delivery_counters, observer_gauges, worker_gauges
from gateway.observer.http import admin_app, admin_server, listen
from gateway.observer.lag import Lookout
from gateway.observer.metering import EventMaker, webhook
from gateway.observer.metrics import Metrics
from gateway.observer.openmetrics import Family, render
from gateway.observer.readiness import Readiness, judge
from gateway.observer.sampling import Policy

log = logging.getLogger(__name__)

Step: TypeAlias = Callable[[], object]
"""Called once a second on the loop; what it returns is awaited if it can be. Long work belongs in a thread."""

POLL_S = 0.1
STEP_S = 1.0
LAST_SENDING_S = 1.0
METERING_LAG_US = 10 * 365 * 86_400 * 1_000_000
"""Bills wait for their receiver, however long it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator may say about the observer. ``config`` is shown at /config, redacted; ``version`` at /version.
    ``triton`` adds Triton's metric names. Telemetry older than ``max_lag_s`` is skipped and counted.
    With ``webhook_url`` each call is metered there, by events of this ``source``."""

    host: str = "127.0.0.1"
    port: int = 8002
    workers: int = 1
    version: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    max_tenants: int = 200
    tenants: tuple[str, ...] = ()
    triton: bool = False
    sampling: Policy = Policy()  # noqa: RUF009 - frozen
    max_lag_s: int = 86_400
    source: str = "inference-gateway"
    webhook_url: str = ""
    webhook_token: str = field(default="", repr=False)


class Observer:
    """One per gateway, in its own process and loop. Its projections live in ``data/observer``.

    ``followers`` run with ours, in one thread; what sends elsewhere runs alone, for it waits for a network.
    A step that raises is logged and called again. ``alarms`` tells which shards the notary refuses to sign, and why.
    ``families`` adds to a scrape, ``routes`` to the HTTP. ``environ`` holds the ``OTEL_*`` variables. Clocks:
    ``clock_us`` is the wall's, ``clock_ns`` monotonic.

    Raises: ValueError that names a variable in ``environ`` which cannot be used.
    """

    def __init__(
        self,
        data: Path,
        settings: Settings,
        *,
        clock_us: Callable[[], int],
        clock_ns: Callable[[], int],
        followers: Sequence[Follower] = (),
        environ: Mapping[str, str] | None = None,
        steps: Sequence[Step] = (),
        alarms: Callable[[], Mapping[str, str]] | None = None,
        families: Callable[[], Sequence[Family]] = tuple,
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        self._data = data
        self._ledger = data / "ledger"
        self._settings = settings
        self._clock_us = clock_us
        self._steps = steps
        self._alarms = alarms
        self._families = families
        self._routes = routes
        self._start_us = 0
        folder = data / "observer"
        self._metrics = Metrics(max_tenants=settings.max_tenants, tenants=settings.tenants)
        self._counting = FoldFollower("metrics", MetricsFold(self._metrics), folder / "metrics.db", clock_ns=clock_ns)
        self._usage = FoldFollower("usage", UsageFold(), folder / "usage.db", clock_ns=clock_ns)
        self._followers = (self._counting, self._usage, *followers)
        self._workers = WorkerCounters()
        self._lookout = Lookout(self._ledger, clock_us)
        self._exporters = self._built(environ or {})

    def _built(self, environ: Mapping[str, str]) -> list[tuple[Exporter, Lookout]]:
        """What sends elsewhere, and where it looks: spans of calls, and of the gateway's own changes."""
        built: list[tuple[Exporter, Lookout]] = []
        for name, lookout in (
            ("traces", self._lookout),
            ("changes", Lookout(self._data / "governance", self._clock_us)),
        ):
            exporter = trace_exporter(
                self._data / "observer" / f"{name}.db",
                environ,
                self._settings.sampling,
                version=self._settings.version.get("version", ""),
                kept=self._exemplify,
                clock_us=self._clock_us,
                max_lag_us=self._settings.max_lag_s * 1_000_000,
            )
            if exporter is not None:
                built.append((exporter, lookout))
        if self._settings.webhook_url:
            built.append((self._metering(), self._lookout))
        return built

    def _metering(self) -> Exporter:
        settings = self._settings
        return Delivery(
            "metering",
            EventMaker(settings.source),
            webhook(settings.webhook_url, settings.webhook_token),
            self._data / "observer" / "metering.db",
            clock_us=self._clock_us,
            max_lag_us=METERING_LAG_US,
            give_up=False,
        )

    def _exemplify(self, record: Record) -> None:
        with self._counting.lock:
            self._metrics.exemplify(record)

    async def run(self, stop: asyncio.Event, ready: Callable[[int], None] = lambda port: None) -> None:
        """Serve and follow until ``stop`` is set, then fold what is left, commit and close.

        ``ready`` is told the bound admin port once it is served.

        Raises: OSError when the address cannot be bound or the data folder not written; LedgerNewer.
        """
        self._start_us = self._clock_us()
        with listen(self._settings.host, self._settings.port) as listener, self._opened():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._serve(listener, stop))
                tasks.create_task(follow(self._ledger, self._followers, stop=stop, poll_s=POLL_S))
                for exporter, lookout in self._exporters:
                    tasks.create_task(follow(lookout.root, [exporter], stop=stop, poll_s=POLL_S))
                tasks.create_task(self._run_steps(stop))
                tasks.create_task(self._stop_exporters(stop))
                ready(listener.getsockname()[1])

    @contextlib.contextmanager
    def _opened(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            stack.callback(self._lookout.close)
            for own in (self._counting, self._usage):
                own.open(self._lookout.size)
                stack.callback(own.close)
            for exporter, lookout in self._exporters:
                exporter.open(lookout.size)
                stack.callback(lookout.close)
                stack.callback(exporter.close)
            yield

    async def _serve(self, listener: socket.socket, stop: asyncio.Event) -> None:
        server = admin_server(
            admin_app(
                metrics=self.scrape,
                readiness=self.readiness,
                version=self._settings.version,
                config=self._settings.config,
                routes=self._routes,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await stop.wait()
        server.should_exit = True
        await serving

    async def _stop_exporters(self, stop: asyncio.Event) -> None:
        """After ``stop`` they have a moment for what is left; a receiver that hangs must not hold up the exit."""
        await stop.wait()
        await asyncio.sleep(LAST_SENDING_S if self._exporters else 0)
        for exporter, _ in self._exporters:
            exporter.stop()

    async def _run_steps(self, stop: asyncio.Event) -> None:
        """Each second, and once more after ``stop``."""
        while True:
            last = stop.is_set()
            self._workers.see(self._states())
            for step in (self._counting.commit, self._usage.commit, *self._steps):
                try:
                    result = step()
                    if isinstance(result, Awaitable):
                        await result
                except Exception:  # one broken step must not stop the others, nor the observer
                    log.exception("observer.step_failed", extra={"step": getattr(step, "__qualname__", repr(step))})
            if last:
                return
            await wait(stop, STEP_S)

    def readiness(self) -> Readiness:
        """Judge the gateway as it is now."""
        return judge(
            self._states(),
            workers=self._settings.workers,
            now_us=self._clock_us(),
            lags_us=self._lags_us(),
            broken=self._lookout.broken,
        )

    def scrape(self, openmetrics: bool) -> bytes:
        """All families as text."""
        states = self._states()
        self._workers.see(states)
        sizes = self._lookout.sizes()
        with self._counting.lock:
            return render(
                [
                    *self._metrics.families(),
                    *(self._metrics.triton.families() if self._settings.triton else ()),
                    *self._workers.families(),
                    *worker_gauges(states, self._clock_us()),
                    *observer_gauges(
                        sizes=sizes,
                        lags_us=self._lags_us(),
                        version=self._settings.version,
                        start_us=self._start_us,
                    ),
                    *chain_gauge(sizes, self._alarms),
                    *delivery_counters([exporter for exporter, _ in self._exporters]),
                    *self._families(),
                ],
                openmetrics=openmetrics,
            )

    def _states(self) -> list[state.WorkerState]:
        return state.read(self._data / "state")

    def _lags_us(self) -> dict[str, int]:
        lags = self._lookout.lags_us(self._followers)
        for exporter, lookout in self._exporters:
            lags |= lookout.lags_us([exporter])
        return lags


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Return when ``event`` is set or ``seconds`` have passed."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
