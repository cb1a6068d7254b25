"""Which deliveries run: traces, if the environment names a collector."""

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
from gateway.observer.otlp import choose
from gateway.observer.sampling import Policy, Sampler, policy_of
from gateway.observer.telemetry import SpanMaker


class Exporter(Protocol):
    """A follower that waits for a network: opened and closed with the observer, stopped before it. ``delivered`` and
    ``dropped`` count items since the start."""

    delivered: int
    dropped: int

    @property
    def name(self) -> str:
        """Its label in the lag metric."""
        ...

    def open(self, size: Callable[[str], int]) -> None:
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
    from gateway.observer.traces import resource_of, span_sender  # the SDK loads only where it is used

    sampler = Sampler(policy_of(environ, sampling))
    maker = SpanMaker(sampler, kept, duplicate=duplicates(environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "")))
    send = span_sender(choice, resource_of(version, socket.gethostname()))
    return Delivery(path.stem, maker, send, path, clock_us=clock_us, max_lag_us=max_lag_us)
