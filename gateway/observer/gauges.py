"""What stands in no record: gauges made for one scrape."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping, Sequence

from gateway.observer.cells import Counter, Labels
from gateway.observer.exporters import Exporter
from gateway.observer.openmetrics import Family, Gauge
from gateway.observer.state import WorkerState

MODEL = ("model", "version")
BUILD = ("version", "python")
"""What of a version is a label; a process id would make a new series at every start."""


def worker_gauges(states: Sequence[WorkerState], now_us: int) -> Iterator[Family]:
    """Gauges of the workers that were heard of lately, summed where a sum makes sense."""
    live = [state for state in states if not state.stale(now_us)]
    yield Gauge(
        name="gateway_worker_ready",
        help="Whether a worker is ready.",
        labels=("worker",),
        cells={(str(s.worker),): int(s.ready and not s.stale(now_us)) for s in states},
    )
    yield Gauge(name="gateway_inflight", help="Calls in flight.", cells={(): sum(s.inflight for s in live)})
    yield Gauge(
        name="gateway_queue_depth",
        help="Calls that wait for a model's run.",
        labels=MODEL,
        cells=waiting(live),
    )
    loaded: Tally[tuple[str, ...]] = Tally(
        (m.name, m.version, m.digest) for s in live for m in s.models if m.state == "READY"
    )
    yield Gauge(
        name="gateway_model_loaded",
        help="Workers in which a model version serves.",
        labels=("model", "version", "sha256"),
        cells=loaded,
    )
    yield Gauge(
        name="gateway_model_failed",
        help="Workers in which a model version, or what should replace it, could not be loaded.",
        labels=MODEL,
        cells=Tally((m.name, m.version) for s in live for m in s.models if m.failed),
    )
    bundles = Tally((s.policy.revision, s.policy.digest) for s in live if s.policy.revision)
    yield Gauge(
        name="gateway_policy_bundle",
        help="Policy bundles in force.",
        labels=("revision", "digest"),
        cells=dict.fromkeys(bundles, 1),
        kind="info",
    )
    yield from _policy_times(live)
    yield Gauge(
        name="gateway_cert_expiry_timestamp_seconds",
        help="When a certificate expires.",
        labels=("subject",),
        cells={(subject,): at for s in live for subject, at in s.certificates.items()},
    )
    yield Gauge(
        name="gateway_ledger_writable",
        help="Whether a worker's shard takes records.",
        labels=("worker",),
        cells={(str(s.worker),): int(s.ledger.ok) for s in live},
    )
    yield Gauge(
        name="gateway_ledger_free_bytes",
        help="Room on the disk that holds a worker's records.",
        labels=("worker",),
        cells={(str(s.worker),): s.ledger.free for s in live},
    )


def _policy_times(live: Sequence[WorkerState]) -> Iterator[Gauge]:
    yield Gauge(
        name="gateway_policy_refused",
        help="Workers that refused a newer policy bundle and serve the last good one.",
        cells={(): sum(bool(s.policy.error) for s in live)} if live else {},
    )
    activated = [s.policy.activated_us for s in live if s.policy.activated_us]
    yield Gauge(
        name="gateway_bundle_last_success_timestamp_seconds",
        help="When the policy bundle in force was activated.",
        cells={(): min(activated) / 1e6} if activated else {},
    )


def waiting(live: Sequence[WorkerState]) -> Mapping[Labels, int]:
    """Calls that wait, by model and version."""
    calls: Tally[Labels] = Tally()
    for state in live:
        for model in state.models:
            if model.state == "READY":
                calls[model.name, model.version] += model.waiting
    return calls


def observer_gauges(
    *,
    sizes: Mapping[str, int],
    lags_us: Mapping[str, int],
    version: Mapping[str, str],
    start_us: int,
) -> Iterator[Gauge]:
    """Gauges of the observer itself: ledger sizes, followers' lag, what build this is."""
    yield Gauge(
        name="gateway_ledger_size",
        help="Committed records of a shard.",
        labels=("shard",),
        cells={(shard,): size for shard, size in sizes.items()},
    )
    yield Gauge(
        name="gateway_ledger_lag_seconds",
        help="Age of the oldest record that a follower has not seen.",
        labels=("follower",),
        cells={(name,): lag / 1e6 for name, lag in lags_us.items()},
    )
    yield Gauge(
        name="gateway_build",
        help="What is running.",
        labels=BUILD,
        cells={tuple(version.get(name, "") for name in BUILD): 1},
        kind="info",
    )
    yield Gauge(
        name="gateway_observer_start_timestamp_seconds",
        help="When the observer started.",
        cells={(): start_us / 1e6},
    )


def chain_gauge(sizes: Mapping[str, int], alarms: Callable[[], Mapping[str, str]] | None) -> Iterator[Gauge]:
    """Whether each shard still holds what was signed; nothing when nobody signs."""
    if alarms is None:
        return
    broken = alarms()
    yield Gauge(
        name="gateway_ledger_chain_ok",
        help="Whether a shard still is what its last signed head says.",
        labels=("shard",),
        cells={(shard,): int(shard not in broken) for shard in {**sizes, **broken}},
    )


def delivery_counters(exporters: Sequence[Exporter]) -> Iterator[Counter]:
    """What each exporter delivered and dropped, and what it counts besides."""
    delivered = Counter("gateway_telemetry_delivered", "Items that a receiver took, since the start.", ("signal",))
    dropped = Counter(
        "gateway_telemetry_dropped", "Items skipped as too old or refused for good, since the start.", ("signal",)
    )
    for exporter in exporters:
        delivered.add((exporter.name,), exporter.delivered)
        dropped.add((exporter.name,), exporter.dropped)
    yield from (delivered, dropped)
    merged: dict[str, Counter] = {}
    for exporter in exporters:
        for family in exporter.families():
            into = merged.setdefault(family.name, Counter(family.name, family.help, family.labels, scale=family.scale))
            for key, value in family.cells.items():
                into.add(key, value)
    yield from merged.values()
