"""Pushes metrics by OTLP at an interval, if the environment asks for it. A push that fails is not repeated: the next
one holds the same counters, further on."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence

from gateway.observer.catch_up import CatchingUp
from gateway.observer.openmetrics import Family
from gateway.observer.otlp import choose

log = logging.getLogger(__name__)


class MetricsPush:
    """``families`` gives what a scrape would show and since when it is counted (microseconds); called on the loop."""

    def __init__(
        self,
        send: Callable[[Sequence[Family], int, int], bool],
        interval_s: float,
        families: Callable[[], tuple[Sequence[Family], int]],
        clock_us: Callable[[], int],
    ) -> None:
        self._send = send
        self._interval_s = interval_s
        self._families = families
        self._clock_us = clock_us

    async def run(self, stop: asyncio.Event) -> None:
        """Push at each interval, and once after ``stop``."""
        while True:
            last = await _waited(stop, self._interval_s)
            await self._push_once()
            if last:
                return

    async def _push_once(self) -> None:
        try:
            families, since_us = self._families()
        except CatchingUp:
            return
        if not await asyncio.to_thread(self._send, families, since_us, self._clock_us()):
            log.warning("metrics.not_pushed")


def metrics_push(
    environ: Mapping[str, str],
    *,
    version: str,
    families: Callable[[], tuple[Sequence[Family], int]],
    clock_us: Callable[[], int],
) -> MetricsPush | None:
    """The push that ``OTEL_METRICS_EXPORTER=otlp`` asks for. Unlike traces it is not on by an endpoint alone: most who
    have a collector for traces scrape ``/metrics``, and nobody wants every number twice.

    Raises: ValueError that names a variable which cannot be used.
    """
    if not environ.get("OTEL_METRICS_EXPORTER", "").strip():
        return None
    choice = choose(environ, "METRICS")
    if not choice:
        return None
    text = environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip() or "60000"
    if not text.isdecimal() or int(text) < 100:
        raise ValueError(f"OTEL_METRIC_EXPORT_INTERVAL={text!r}: expected milliseconds, at least 100")
    from gateway.observer.otlp_metrics import metrics_sender  # the SDK loads only where it is used
    from gateway.observer.traces import resource_of

    send = metrics_sender(choice, resource_of(version, socket.gethostname()))
    return MetricsPush(send, int(text) / 1000, families, clock_us)


async def _waited(stop: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True
