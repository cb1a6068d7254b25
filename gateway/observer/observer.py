"""The observer: follows the ledger, serves the admin HTTP, and runs what others ask it to run each second."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from starlette.routing import BaseRoute

from gateway.ledger.follower import Follower, follow
from gateway.ledger.record import Record
from gateway.observer.catch_up import CatchUp
from gateway.observer.closing import UsageFold
from gateway.observer.exporters import exporters
from gateway.observer.folds import MetricsFold
from gateway.observer.followers import FoldFollower
from gateway.observer.http import admin_app, admin_server, listen
from gateway.observer.lag import Lookout
from gateway.observer.metrics import Metrics
from gateway.observer.openmetrics import Family
from gateway.observer.page import Page
from gateway.observer.push import metrics_push
from gateway.observer.settings import Settings

log = logging.getLogger(__name__)

Step: TypeAlias = Callable[[], object]
"""Called once a second on the loop; what it returns is awaited if it can be. Long work belongs in a thread."""

POLL_S = 0.1
STEP_S = 1.0
LAST_SENDING_S = 1.0


class Observer:
    """One per gateway, in its own process and loop. Its projections live in ``data/observer``.

    ``followers`` run with ours, in one thread; what sends elsewhere runs alone, for it waits for a network.
    A step that raises is logged and called again. ``alarms`` tells which shards the notary refuses to sign, and why.
    ``families`` adds to a scrape (``page``), ``routes`` to the HTTP. ``environ`` holds the ``OTEL_*`` variables.
    Clocks: ``clock_us`` is the wall's, ``clock_ns`` monotonic.

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
        self._ledger = data / "ledger"
        self._settings = settings
        self._steps = steps
        self._routes = routes
        folder = data / "observer"
        self._metrics = Metrics(max_tenants=settings.max_tenants, tenants=settings.tenants, triton=settings.triton)
        self._counting = FoldFollower("metrics", MetricsFold(self._metrics), folder / "metrics.db", clock_ns=clock_ns)
        self._usage = FoldFollower("usage", UsageFold(), folder / "usage.db", clock_ns=clock_ns)
        self._followers = (self._counting, self._usage, *followers)
        self._exporters = exporters(data, environ or {}, settings, kept=self._exemplify, clock_us=clock_us)
        self._lookout = Lookout(self._ledger, clock_us)
        self._catch_up = CatchUp(self._counting, clock_ns)
        self.page = Page(
            data / "state",
            settings,
            metrics=self._metrics,
            lock=self._counting.lock,
            followers=[*((each, self._lookout) for each in self._followers), *self._exporters],
            exporters=[exporter for exporter, _ in self._exporters],
            lookout=self._lookout,
            catch_up=self._catch_up,
            clock_us=clock_us,
            alarms=alarms,
            families=families,
        )
        version = settings.version.get("version", "")
        self._push = metrics_push(environ or {}, version=version, families=self.page.pushed, clock_us=clock_us)

    def _exemplify(self, record: Record) -> None:
        with self._counting.lock:
            self._metrics.exemplify(record)

    async def run(self, stop: asyncio.Event, ready: Callable[[int], None] = lambda port: None) -> None:
        """Serve and follow until ``stop`` is set, then fold what is left, commit and close.

        ``ready`` is told the bound admin port once it is served.

        Raises: OSError when the address cannot be bound or the data folder not written; LedgerNewer.
        """
        with listen(self._settings.host, self._settings.port) as listener, self._opened():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._serve(listener, stop))
                tasks.create_task(follow(self._ledger, self._followers, stop=stop, poll_s=POLL_S))
                for exporter, lookout in self._exporters:
                    tasks.create_task(follow(lookout.root, [exporter], stop=stop, poll_s=POLL_S))
                tasks.create_task(self._run_steps(stop))
                if self._push is not None:
                    tasks.create_task(self._push.run(stop))
                tasks.create_task(self._stop_exporters(stop))
                ready(listener.getsockname()[1])

    @contextlib.contextmanager
    def _opened(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            stack.callback(self._lookout.close)
            for own in (self._counting, self._usage):
                own.open(self._lookout.size)
                stack.callback(own.close)
            self._catch_up.expect(self._lookout.sizes())
            for exporter, lookout in self._exporters:
                exporter.open(lookout.size)
                stack.callback(lookout.close)
                stack.callback(exporter.close)
            yield

    async def _serve(self, listener: socket.socket, stop: asyncio.Event) -> None:
        server = admin_server(
            admin_app(
                metrics=self.page.scrape,
                readiness=self.page.readiness,
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


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Return when ``event`` is set or ``seconds`` have passed."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
