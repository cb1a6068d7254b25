"""Delivery of spans to a real receiver over the network: both protocols, outages, refusals, restarts."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from observer.otlp_receiver import GrpcReceiver, HttpReceiver, Received

from gateway.ledger.follower import Tail
from gateway.observer.delivery import NotDelivered
from gateway.observer.exporters import Exporter, trace_exporter
from gateway.observer.lag import Lookout
from gateway.observer.sampling import Policy


@pytest.fixture
def received() -> Received:
    return Received()


class Pipe:
    """A delivery of traces over the test's shards, built from the environment as the observer builds it."""

    def __init__(self, shards, path: Path, clock, environ: dict[str, str], sampling: Policy) -> None:
        self.kept: list[object] = []
        exporter = trace_exporter(
            path / "observer" / "traces.db",
            environ,
            sampling,
            version="1",
            kept=self.kept.append,
            clock_us=clock,
            max_lag_us=3_600_000_000,
        )
        assert exporter is not None
        self.exporter: Exporter = exporter
        lookout = Lookout(shards.root, clock)
        self.exporter.open(lookout.size)
        lookout.close()
        self._tail = Tail(shards.root, [self.exporter])

    def drain(self) -> None:
        """Step until there is nothing left. Raises: NotDelivered."""
        while self._tail.step():
            pass

    def close(self) -> None:
        self._tail.close()
        self.exporter.close()


@pytest.fixture
def pipe(shards, clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Pipe]]:
    """Makes pipes to a URL; the exporters read the process's own environment, so that is where it is set."""
    with ExitStack() as stack:

        def make(url: str, protocol: str = "http/protobuf", sampling: Policy | None = None) -> Pipe:
            environ = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": url,
                "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
                "OTEL_EXPORTER_OTLP_TIMEOUT": "0.5",
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
            }
            for name, value in environ.items():
                monkeypatch.setenv(name, value)
            made = Pipe(shards, tmp_path / "data", clock, environ, sampling or Policy(per_second=10**9))
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def http(received: Received) -> Iterator[HttpReceiver]:
    receiver = HttpReceiver(received)
    yield receiver
    receiver.close()


@pytest.mark.parametrize("kind", [HttpReceiver, GrpcReceiver])
def test_spans_arrive_whole_over_both_protocols(kind, received, shards, record, denied, pipe) -> None:
    shards.add(
        record(0, parent="f" * 16, flags="01"),
        record(1, **denied),
        record(2, status="INTERNAL", outcome="failed", error="model_failed"),
    )
    receiver = kind(received)
    made = pipe(receiver.url, "grpc" if kind is GrpcReceiver else "http/protobuf")
    made.drain()
    receiver.close()
    servers = [span for span in received.spans if span.kind == span.SPAN_KIND_SERVER]
    assert [span.trace_id.hex() for span in servers] == [record(n).trace for n in range(3)]
    assert servers[0].parent_span_id.hex() == "f" * 16
    assert servers[0].start_time_unix_nano == record(0).t_us * 1000
    assert [span.status.code for span in servers] == [0, 0, 2]
    assert len(received.spans) == 6 + 4 + 6
    resource = received.traces[0].resource_spans[0]
    attributes = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert attributes["service.name"] == "inference-gateway"
    assert attributes["deployment.environment.name"] == "test"
    assert resource.scope_spans[0].schema_url == "https://opentelemetry.io/schemas/1.44.0"
    assert len(made.kept) == 3


def test_a_collector_that_is_down_costs_nothing_and_is_caught_up_with_in_order(received, shards, record, pipe) -> None:
    shards.add(*(record(n) for n in range(300)))
    receiver = HttpReceiver(received)
    port = receiver.port
    receiver.close()
    made = pipe(f"http://127.0.0.1:{port}")
    for _ in range(2):
        with pytest.raises(NotDelivered):
            made.drain()
    assert made.exporter.position("gw.0") == 0
    receiver = HttpReceiver(received, port)
    made.drain()
    receiver.close()
    servers = [span.trace_id.hex() for span in received.spans if span.kind == span.SPAN_KIND_SERVER]
    assert servers == [record(n).trace for n in range(300)]
    assert made.exporter.dropped == 0


def test_a_collector_that_hangs_delays_only_the_export(received, http, shards, record, pipe) -> None:
    shards.add(record(0))
    received.hang.set()
    made = pipe(http.url)
    started = time.monotonic()
    with pytest.raises(NotDelivered):
        made.drain()
    assert time.monotonic() - started < 5
    received.hang.clear()
    made.drain()
    assert len(received.spans) == 6


def test_after_a_restart_only_what_was_not_taken_is_sent_again(received, http, shards, record, pipe) -> None:
    shards.add(*(record(n) for n in range(200)))
    first = pipe(http.url)
    first.drain()
    taken = len(received.spans)
    first.close()
    shards.add(record(200))
    pipe(http.url).drain()
    assert taken == 1200
    assert len(received.spans) == 1206


def test_what_is_sent_twice_has_the_same_ids(received, http, shards, record, pipe, tmp_path: Path) -> None:
    shards.add(*(record(n) for n in range(10)))
    first = pipe(http.url)
    first.drain()
    first.close()
    once = {(s.trace_id, s.span_id) for s in received.spans}
    with sqlite3.connect(tmp_path / "data" / "observer" / "traces.db") as db:  # as if killed before the commit
        db.execute("UPDATE position SET next = 0")
    pipe(http.url).drain()
    assert len(received.spans) == 120
    assert {(s.trace_id, s.span_id) for s in received.spans} == once


def test_a_batch_that_is_refused_for_good_is_cut_down_to_the_span_at_fault(
    received, http, shards, record, pipe
) -> None:
    shards.add(*(record(n) for n in range(20)), record(20, method="bad/Method"), *(record(n) for n in range(21, 40)))
    received.refuse = "bad/Method"
    made = pipe(http.url)
    made.drain()
    assert made.exporter.dropped == 1
    assert len(received.spans) == 40 * 6 - 1


def test_a_wrong_credential_loses_nothing(received, http, shards, record, pipe) -> None:
    shards.add(*(record(n) for n in range(20)))
    received.status = 401
    made = pipe(http.url)
    for _ in range(5):
        with pytest.raises(NotDelivered):
            made.drain()
    assert (made.exporter.dropped, made.exporter.position("gw.0")) == (0, 0)
    received.status = 200
    made.drain()
    assert len(received.spans) == 120


def test_what_is_older_than_the_lag_allowed_is_skipped_and_counted(received, http, shards, record, pipe, clock) -> None:
    shards.add(record(0, t_us=clock.now_us - 7_200_000_000), record(1, t_us=clock.now_us))
    made = pipe(http.url)
    made.drain()
    assert made.exporter.dropped == 6
    assert len(received.spans) == 6


def test_after_stop_nothing_new_is_sent(received, http, shards, record, pipe) -> None:
    shards.add(record(0))
    made = pipe(http.url)
    made.exporter.stop()
    with pytest.raises(NotDelivered, match="stopping"):
        made.drain()
    assert received.attempts == 0


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_exported_unless_a_collector_is_named(environ: dict[str, str], tmp_path: Path, clock) -> None:
    made = trace_exporter(tmp_path / "t.db", environ, Policy(), version="1", kept=print, clock_us=clock, max_lag_us=1)
    assert made is None


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER='zipkin'"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL='http/json'",
        ),
    ],
)
def test_what_cannot_be_exported_is_named(environ: dict[str, str], text: str, tmp_path: Path, clock) -> None:
    with pytest.raises(ValueError, match=text):
        trace_exporter(tmp_path / "t.db", environ, Policy(), version="1", kept=print, clock_us=clock, max_lag_us=1)
