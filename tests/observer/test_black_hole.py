"""A collector that takes nothing for long: calls do not notice, memory and log stay small, nothing is missing after.

A whole gateway, a real collector, and between them a network that drops everything for ``BLACK_HOLE_SECONDS``.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from statistics import median

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from observer.otel_servers import Collector
from observer.relay import Relay
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from running import Running, start

from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.record import decode

pytestmark = pytest.mark.chaos

SECONDS = float(os.environ.get("BLACK_HOLE_SECONDS", "90"))
OPEN_S = 15.0
CALLS_PER_S = 25
MB = 1_000_000


class Sink:
    """Where the collector sends: keeps the ids of server spans, however often they come, and nothing else."""

    def __init__(self) -> None:
        self.traces: set[str] = set()

        def export(request: bytes, context: grpc.ServicerContext) -> bytes:
            for resource in ExportTraceServiceRequest.FromString(request).resource_spans:
                for scope in resource.scope_spans:
                    self.traces |= {s.trace_id.hex() for s in scope.spans if s.kind == s.SPAN_KIND_SERVER}
            return b""

        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        handler = grpc.method_handlers_generic_handler(
            "opentelemetry.proto.collector.trace.v1.TraceService",
            {"Export": grpc.unary_unary_rpc_method_handler(export)},
        )
        self._server.add_generic_rpc_handlers((handler,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        self._server.stop(0).wait()


class Caller:
    """Calls at a steady rate; ``durations`` are those of the phase it is told to be in."""

    def __init__(self, gateway: Running) -> None:
        self.durations: dict[str, list[float]] = {}
        self.phase = "warm-up"
        self._gateway = gateway
        self._key = gateway.key("app", "research", "callers")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        text = triton.InferInput("text", [1, 1], "BYTES")
        text.set_data_from_numpy(np.array([[b"a good film"]], dtype=object))
        with triton.InferenceServerClient(self._gateway.url) as client:
            while not self._stop.wait(1 / CALLS_PER_S):
                began = time.perf_counter()
                client.infer("sentiment", [text], headers={"authorization": f"Bearer {self._key}"})
                self.durations.setdefault(self.phase, []).append(time.perf_counter() - began)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


@pytest.fixture
def relay(sink: Sink, tmp_path: Path) -> Iterator[Relay]:
    collector = Collector(tmp_path, sink.port)
    collector.start()
    made = Relay(collector.http)
    yield made
    made.close()
    collector.kill()


def lag_s(gateway: Running) -> float:
    found = re.search(r'gateway_ledger_lag_seconds\{follower="traces"\} (\S+)', gateway.get("/metrics")[1])
    assert found is not None
    return float(found[1])


def recorded(gateway: Running) -> set[str]:
    """The trace ids of all calls in the ledger."""
    root, found = gateway.data / "ledger", set()
    for shard in shards(root):
        reader, seq = ShardReader(root, shard), 0
        while batch := reader.read(seq):
            found |= {record.trace for record in (decode(leaf) for _, leaf in batch) if record.kind == "call"}
            seq = batch[-1][0] + 1
        reader.close()
    return found


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.5)


class Pair:
    """Two gateways under the same load at the same time: one exports through the relay, the other exports nothing."""

    def __init__(self, folder: Path, relay: Relay) -> None:
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{relay.port}"}
        self.exporting = start(folder / "exporting", "--log-format", "json", environ=environ)
        self.silent = start(folder / "silent", "--log-format", "json")
        self.callers = [Caller(self.exporting), Caller(self.silent)]

    def phase(self, name: str) -> None:
        for caller in self.callers:
            caller.phase = name

    def memory(self) -> list[int]:
        return [each.child("gateway: observer").memory_info().rss for each in (self.exporting, self.silent)]

    def slower(self, phase: str) -> float:
        """How many times as long the calls of the exporting one took."""
        exporting, silent = (median(caller.durations[phase]) for caller in self.callers)
        return exporting / silent

    def close(self) -> None:
        for caller in self.callers:
            caller.close()


@pytest.mark.parametrize("fault", ["black hole", "slow"])
def test_a_collector_that_takes_nothing_or_little_for_long(
    fault: str, sink: Sink, relay: Relay, tmp_path: Path
) -> None:
    pair = Pair(tmp_path, relay)
    gateway = pair.exporting
    try:
        until(lambda: bool(sink.traces), 30, "no trace came at all")
        pair.phase("open")
        time.sleep(OPEN_S)

        pair.phase("shut")
        logged = len(gateway.said().splitlines())
        if fault == "black hole":
            relay.closed.set()
        else:
            relay.delay_s = 1.0
        time.sleep(SECONDS / 3)
        early, lags = pair.memory(), [lag_s(gateway)]
        time.sleep(SECONDS * 2 / 3)
        late = pair.memory()
        lags.append(lag_s(gateway))
        logged = len(gateway.said().splitlines()) - logged

        pair.phase("opened")
        relay.closed.clear()
        relay.delay_s = 0.0
        until(lambda: lag_s(gateway) < 10, 120 + SECONDS, "the export did not catch up")
    finally:
        pair.close()
    expected = recorded(gateway)
    until(lambda: sink.traces >= expected, 60, f"{len(expected - sink.traces)} of {len(expected)} traces are missing")
    assert gateway.stop() == pair.silent.stop() == 0
    grown, grown_silent = (after - before for before, after in zip(early, late, strict=True))
    answered = sum(map(len, pair.callers[0].durations.values()))
    print(
        f"\n{fault}, {SECONDS:.0f} s: {answered:,} calls, lag {lags[0]:.0f} s then {lags[1]:.0f} s, median latency "
        f"x{pair.slower('shut'):.2f} (open x{pair.slower('open'):.2f}), observer +{grown / MB:.1f} MB (silent "
        f"+{grown_silent / MB:.1f} MB), {logged} log lines"
    )
    assert answered <= len(expected)
    if fault == "black hole":
        assert lags[1] > SECONDS * 0.8
    else:
        assert lags[1] < 20, "slow is not shut: the export keeps up"
    assert pair.slower("shut") < 1.5, "calls noticed"
    assert grown - grown_silent < 25 * MB, "the observer keeps what it cannot send"
    assert logged < 20 + SECONDS / 3, "the log is flooded"
