"""Which deliveries run: traces, if the environment names a collector; metering, if a webhook is set."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from gateway.ledger.follower import Batch
from gateway.ledger.record import Record
from gateway.observer.cells import Counter
from gateway.observer.conventions import duplicates
from gateway.observer.delivery import Delivery
from gateway.observer.lag import Lookout
from gateway.observer.metering import EventMaker, webhook
from gateway.observer.otlp import choose
from gateway.observer.projections import Size
from gateway.observer.sampling import Policy, Sampler, policy_of
from gateway.observer.settings import Settings
from gateway.observer.telemetry import SpanMaker

METERING_LAG_US = 10 * 365 * 86_400 * 1_000_000
"""Bills wait for their receiver, however long it takes."""


class Exporter(Protocol):
    """A follower that waits for a network: opened and closed with the observer, stopped before it. ``delivered`` and
    ``dropped`` count items since the start."""

    delivered: int
    dropped: int

    @property
    def name(self) -> str:
        """Its label in the lag metric."""
        ...

    def open(self, size: Size) -> None:
        """Restore positions."""
        ...

    def position(self, shard: str) -> int:
        """The next sequence number that it wants."""
        ...

    def apply(self, shard: str, batch: Batch) -> None:
        """Send."""
        ...

    def stop(self) -> None:
        """Start nothing new."""
        ...

    def close(self) -> None:
        """Close."""
        ...

    def families(self) -> Iterator[Counter]:
        """What it counts besides."""
        ...


def trace_exporter(
    path: Path,
    environ: Mapping[str, str],
    sampling: Policy,
    *,
    version: str,
    kept: Callable[[Record], None],
    clock_us: Callable[[], int],
    max_lag_us: int,
) -> Exporter | None:
    """The delivery of spans that the ``OTEL_*`` variables ask for, None when they name no collector.

    Its name and its positions' file are those of ``path``. ``kept`` is told each call whose trace is kept.

    Raises: ValueError that names a variable which cannot be used.
    """
    choice = choose(environ, "TRACES")
    if not choice:
        return None
    from gateway.observer.traces import SpanSender, resource_of  # the SDK loads only where it is used

    sampler = Sampler(policy_of(environ, sampling))
    maker = SpanMaker(sampler, kept, duplicate=duplicates(environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "")))
    send = SpanSender(choice, resource_of(version, socket.gethostname()))
    return Delivery(path.stem, maker, send, path, clock_us=clock_us, max_lag_us=max_lag_us, interrupt=send.interrupt)


def exporters(
    data: Path,
    environ: Mapping[str, str],
    settings: Settings,
    *,
    kept: Callable[[Record], None],
    clock_us: Callable[[], int],
) -> list[tuple[Exporter, Lookout]]:
    """What sends elsewhere, and the ledger that each follows: spans of calls, of the gateway's own changes, metering.

    Raises: ValueError that names a variable or a setting which cannot be used.
    """
    ledger, governance = Lookout(data / "ledger", clock_us), Lookout(data / "governance", clock_us)
    built: list[tuple[Exporter, Lookout]] = []
    for name, lookout in (("traces", ledger), ("changes", governance)):
        exporter = trace_exporter(
            data / "observer" / f"{name}.db",
            environ,
            settings.sampling,
            version=settings.version.get("version", ""),
            kept=kept,
            clock_us=clock_us,
            max_lag_us=settings.max_lag_s * 1_000_000,
        )
        if exporter is not None:
            built.append((exporter, lookout))
    if settings.webhook_url:
        metering = Delivery(
            "metering",
            EventMaker(settings.source),
            webhook(settings.webhook_url, settings.webhook_token),
            data / "observer" / "metering.db",
            clock_us=clock_us,
            max_lag_us=METERING_LAG_US,
            give_up=False,
        )
        built.append((metering, ledger))
    return built
