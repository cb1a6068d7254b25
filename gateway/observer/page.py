"""What the admin pages show of this moment: the families of a scrape, and whether the gateway is ready."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from gateway.observer import state
from gateway.observer.catch_up import CatchUp
from gateway.observer.cells import Counter, Histogram
from gateway.observer.exporters import Exporter
from gateway.observer.gauges import chain_gauge, delivery_counters, observer_gauges, waiting, worker_gauges
from gateway.observer.lag import Lookout, Positioned
from gateway.observer.metrics import Metrics
from gateway.observer.openmetrics import Family, render
from gateway.observer.readiness import Readiness, judge
from gateway.observer.settings import Settings


class Page:
    """Gathers families. For the observer's loop; ``lock`` is held where ``metrics`` is read, for a thread folds."""

    def __init__(
        self,
        states: Path,
        settings: Settings,
        *,
        metrics: Metrics,
        lock: threading.Lock,
        followers: Sequence[tuple[Positioned, Lookout]],
        exporters: Sequence[Exporter],
        lookout: Lookout,
        catch_up: CatchUp,
        clock_us: Callable[[], int],
        alarms: Callable[[], Mapping[str, str]] | None,
        families: Callable[[], Sequence[Family]],
    ) -> None:
        self._folder = states
        self._settings = settings
        self._metrics = metrics
        self._lock = lock
        self._followers = followers
        self._exporters = exporters
        self._lookout = lookout
        self._catch_up = catch_up
        self._clock_us = clock_us
        self._alarms = alarms
        self._families = families
        self._start_us = clock_us()

    def readiness(self) -> Readiness:
        """Judge the gateway as it is now."""
        return judge(
            state.read(self._folder),
            workers=self._settings.workers,
            now_us=self._clock_us(),
            lags_us=self._lags_us(),
            broken=self._lookout.broken,
        )

    def scrape(self, openmetrics: bool) -> bytes:
        """All families as text. Raises: CatchingUp, at the start."""
        families = self._gather()
        with self._lock:
            return render(families, openmetrics=openmetrics)

    def pushed(self) -> tuple[list[Family], int]:
        """The families as they are now, apart from what goes on being counted, and since when (microseconds).

        Raises: CatchingUp, at the start.
        """
        families = self._gather()
        with self._lock:
            copies = [each.copy() if isinstance(each, Counter | Histogram) else each for each in families]
            return copies, self._metrics.since_us

    def _gather(self) -> list[Family]:
        self._catch_up.check()
        states, now_us = state.read(self._folder), self._clock_us()
        sizes = self._lookout.sizes()
        version, start_us = self._settings.version, self._start_us
        return [
            *self._metrics.families(),
            *(self._triton(states, now_us) if self._settings.triton else ()),
            *worker_gauges(states, now_us),
            *observer_gauges(sizes=sizes, lags_us=self._lags_us(), version=version, start_us=start_us),
            *chain_gauge(sizes, self._alarms),
            *delivery_counters(self._exporters),
            *self._families(),
        ]

    def _triton(self, states: Sequence[state.WorkerState], now_us: int) -> Iterator[Family]:
        yield from self._metrics.triton.families()
        yield from self._metrics.triton.pending(waiting([each for each in states if not each.stale(now_us)]))

    def _lags_us(self) -> dict[str, int]:
        lags: dict[str, int] = {}
        for follower, lookout in self._followers:
            lags |= lookout.lags_us([follower])
        return lags
