"""What a real Prometheus makes of our metrics: its linter, its parser, its storage."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from observer.prometheus_server import HOW, Prometheus

from gateway.observer.catch_up import CatchingUp
from gateway.observer.observer import Observer
from gateway.observer.settings import Settings
from gateway.observer.state import LedgerState, ModelState, PolicyState, WorkerState

HOSTILE = 'quote " backslash \\ newline \n tab \t {x="y"} \u2028 é'


def filled(shards, record, denied, clock) -> Observer:
    """An observer that has folded something of every kind."""
    data = shards.root.parent
    shards.add(
        record(0),
        record(1, **denied),
        record(2, tenant=HOSTILE),
        record(3, status="DEADLINE_EXCEEDED", outcome="expired", stage="infer", error="deadline_exceeded"),
        record(4, status="RESOURCE_EXHAUSTED", outcome="refused", stage="oblige", error="throttled"),
        record(5, kind="beat"),
    )
    (data / "state").mkdir()
    WorkerState(
        worker=0,
        pid=1,
        started_us=1,
        time_us=clock.now_us,
        ready=True,
        models=(ModelState(name="credit", version="3", state="READY", digest="sha256:ab"),),
        policy=PolicyState(revision="r7", digest="sha256:cd", activated_us=clock.now_us),
        ledger=LedgerState(shard="gw.0"),
        certificates={"CN=gateway": 1_900_000_000},
    ).write(data / "state")
    settings = Settings(port=0, version={"version": "1.2.3"}, triton=True)
    return Observer(data, settings, clock_us=clock, clock_ns=lambda: 0)


@asynccontextmanager
async def serving(observer: Observer) -> AsyncIterator[int]:
    """Runs ``observer``; yields its port."""
    stop, ports = asyncio.Event(), []
    task = asyncio.create_task(observer.run(stop, ports.append))
    try:
        while not ports and not task.done():
            await asyncio.sleep(0.02)
        yield ports[0]
    finally:
        stop.set()
        await task


async def scraped(observer: Observer, openmetrics: bool) -> bytes:
    """One scrape after everything was folded."""
    async with serving(observer):
        for _ in range(500):
            await asyncio.sleep(0.02)
            with contextlib.suppress(CatchingUp):
                if b'kind="beat"} 1' in (text := observer.page.scrape(openmetrics)):
                    return text
    raise AssertionError("the records were never folded")


async def test_promtool_finds_nothing_to_complain_about(shards, record, denied, clock, tool) -> None:
    promtool = tool("promtool", HOW)
    text = await scraped(filled(shards, record, denied, clock), openmetrics=False)
    ours = b"\n".join(line for line in text.split(b"\n") if b"nv_" not in line) + b"\n"
    assert ours.count(b"# TYPE") > 25
    found = subprocess.run([promtool, "check", "metrics"], input=ours, capture_output=True, check=False)
    assert (found.returncode, found.stdout.decode(), found.stderr.decode()) == (0, "", "")


async def test_triton_names_are_there_when_asked_and_parse(shards, record, denied, clock, tool) -> None:
    promtool = tool("promtool", HOW)
    text = await scraped(filled(shards, record, denied, clock), openmetrics=False)
    assert b'nv_inference_request_success{model="credit",version="3"} 2\n' in text
    assert b'nv_inference_pending_request_count{model="credit",version="3"} 0\n' in text
    found = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert found.returncode in (0, 3)  # 3: parsed, but the names break the rules, as Triton's do
    assert b"error while linting" not in found.stderr


@pytest.fixture
def prometheus(tool, tmp_path: Path) -> Iterator[list[Prometheus]]:
    tool("prometheus", HOW)
    running: list[Prometheus] = []
    yield running
    for server in running:
        server.close()


@pytest.mark.slow
async def test_a_real_prometheus_scrapes_counts_exemplars_and_hostile_labels(
    shards, record, denied, clock, prometheus, tool, tmp_path: Path
) -> None:
    observer = filled(shards, record, denied, clock)
    now = time.time()

    def ask(port: int) -> None:
        server = Prometheus(tool("prometheus", HOW), tmp_path, port)
        prometheus.append(server)
        denials = server.until('query?query=gateway_requests_total{decision="deny"}')
        assert denials[0]["value"][1] == "1"
        assert server.get('query?query=up{job="gateway"}')[0]["value"][1] == "1"
        hostile = server.until("query?query=" + quote('gateway_requests_total{tenant=~"(?s)quote.*"}'))
        assert hostile[0]["metric"]["tenant"] == HOSTILE
        observer._exemplify(record(0, t_us=time.time_ns() // 1000))
        path = "query_exemplars?query=rpc_server_call_duration_seconds_bucket"
        exemplars = server.until(f"{path}&start={now - 600:.0f}&end={now + 600:.0f}")
        assert exemplars[0]["exemplars"][0]["labels"] == {"trace_id": record(0).trace}

    async with serving(observer) as port:
        await asyncio.to_thread(ask, port)
