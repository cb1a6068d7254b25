"""Metrics by OTLP: the same numbers as a scrape, at an interval, and only when asked."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import pytest
from observer.otlp_receiver import HttpReceiver, Received

from gateway.observer.observer import Observer
from gateway.observer.push import metrics_push
from gateway.observer.settings import Settings


@pytest.fixture
def receiver() -> Iterator[tuple[Received, HttpReceiver]]:
    received = Received()
    server = HttpReceiver(received)
    yield received, server
    server.close()


async def test_what_is_pushed_is_what_a_scrape_shows(shards, record, denied, clock, receiver, monkeypatch) -> None:
    received, server = receiver
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": server.url,
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_METRIC_EXPORT_INTERVAL": "100",
        "OTEL_TRACES_EXPORTER": "none",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    shards.add(record(0), record(1, **denied))
    observer = Observer(shards.root.parent, Settings(port=0), clock_us=clock, clock_ns=lambda: 0, environ=environ)
    stop = asyncio.Event()
    running = asyncio.create_task(observer.run(stop))
    for _ in range(500):
        await asyncio.sleep(0.02)
        if received.metrics:  # nothing is pushed before all is folded
            break
    stop.set()
    await running
    (resource,) = received.metrics[-1].resource_metrics
    metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    requests = {p.attributes[3].value.string_value: p.as_int for p in metrics["gateway_requests"].sum.data_points}
    assert requests == {"allow": 1, "deny": 1}
    assert metrics["gateway_requests"].sum.is_monotonic
    duration = metrics["rpc_server_call_duration"]
    assert duration.unit == "s"
    assert sum(point.count for point in duration.histogram.data_points) == 2
    assert math.isclose(sum(point.sum for point in duration.histogram.data_points), 0.0014)
    point = duration.histogram.data_points[0]
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert point.start_time_unix_nano == record(0).t_us * 1000


@pytest.mark.parametrize(
    "environ", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, {"OTEL_METRICS_EXPORTER": "none"}]
)
def test_metrics_are_pushed_only_when_that_is_asked_for(environ: dict[str, str]) -> None:
    assert metrics_push(environ, version="1", families=lambda: ([], 0), clock_us=lambda: 0) is None


def test_an_interval_that_is_none_is_named() -> None:
    environ = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "1s"}
    with pytest.raises(ValueError, match="OTEL_METRIC_EXPORT_INTERVAL='1s'"):
        metrics_push(environ, version="1", families=lambda: ([], 0), clock_us=lambda: 0)
