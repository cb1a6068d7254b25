"""The observer as a whole: a real ledger on disk, a real socket, and what an operator's tools would ask."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from observer.otlp_receiver import HttpReceiver, Received

from gateway.observer.observer import Observer
from gateway.observer.settings import Settings
from gateway.observer.state import ModelState, PolicyState, WorkerState


@asynccontextmanager
async def running(data: Path, clock, **changes: object) -> AsyncIterator[Callable[..., object]]:
    """The observer on ``data``; yields ``get(path, accept)`` -> (status, content type, text)."""
    ports: list[int] = []
    stop = asyncio.Event()
    settings = Settings(port=0, version={"version": "1.2.3"}, config={"port": 8001})
    observer = Observer(data, settings, clock_us=clock, clock_ns=lambda: 0, **changes)  # type: ignore[arg-type]
    task = asyncio.create_task(observer.run(stop, ports.append))
    while not ports and not task.done():
        await asyncio.sleep(0.01)

    def fetch(path: str, accept: str = "*/*") -> tuple[int, str, str]:
        request = Request(f"http://127.0.0.1:{ports[0]}{path}", headers={"accept": accept})
        try:
            with urlopen(request, timeout=5) as answer:
                return answer.status, answer.headers["content-type"], answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.headers["content-type"], error.read().decode()

    async def get(path: str, accept: str = "*/*") -> tuple[int, str, str]:
        return await asyncio.to_thread(fetch, path, accept)

    try:
        yield get
    finally:
        stop.set()
        await task


async def until(get, path: str, text: str) -> str:
    for _ in range(100):
        body = (await get(path))[2]
        if text in body:
            return str(body)
        await asyncio.sleep(0.05)
    raise AssertionError(f"{text!r} never came up in {path}: {body}")


def write_state(data: Path, clock, **changes: object) -> None:
    (data / "state").mkdir(exist_ok=True, parents=True)
    fields: dict[str, object] = {
        "worker": 0,
        "pid": 77,
        "started_us": 1,
        "time_us": clock.now_us,
        "ready": True,
        "models": (ModelState(name="credit", version="3", state="READY", digest="sha256:ab"),),
        "policy": PolicyState(revision="r7"),
    }
    WorkerState(**(fields | changes)).write(data / "state")  # type: ignore[arg-type]


async def test_metrics_are_folded_from_the_ledger_and_survive_a_restart(shards, record, denied, clock) -> None:
    data = shards.root.parent
    shards.add(record(0), record(1, **denied))
    allowed = 'gateway_requests_total{model="credit",version="3",tenant="acme",decision="allow",code="OK"} '
    async with running(data, clock) as get:
        text = await until(get, "/metrics", allowed + "1")
        assert text.endswith("# EOF\n")
        shards.add(record(2))
        await until(get, "/metrics", allowed + "2")
    async with running(data, clock) as get:
        text = await until(get, "/metrics", allowed + "2")
        assert 'gateway_ledger_size{shard="gw.0"} 3' in text
        assert 'gateway_build_info{version="1.2.3",python=""} 1' in text


async def test_after_a_start_no_scrape_shows_less_than_was_in_the_ledger(shards, record, clock) -> None:
    shards.add(*(record(seq) for seq in range(20_000)))
    async with running(shards.root.parent, clock) as get:
        status, _, text = 503, "", ""
        while status == 503:
            status, _, text = await get("/metrics")
            assert status == 200 or "records are not folded yet" in text
            assert (await get("/livez"))[0] == 200
        assert 'decision="allow",code="OK"} 20000\n' in text


async def test_content_type_follows_what_the_scraper_accepts(shards, record, clock) -> None:
    shards.add(record(0))
    async with running(shards.root.parent, clock) as get:
        await until(get, "/metrics", "# EOF")  # it is folded
        assert (await get("/metrics"))[1] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        for accept in ("text/plain", "text/html,application/xml;q=0.9,*/*;q=0.8"):  # a browser shows it, not saves it
            assert (await get("/metrics", accept))[1] == "text/plain; version=0.0.4; charset=utf-8"


async def test_readiness_names_what_is_missing_and_liveness_does_not_care(shards, clock) -> None:
    data = shards.root.parent
    async with running(data, clock) as get:
        assert (await get("/readyz"))[::2] == (503, "not ready: worker-0: not started\n")
        write_state(data, clock)
        assert (await get("/readyz"))[::2] == (200, "ok\n")
        write_state(data, clock, models=(), policy=PolicyState(error="main.rego:3:1: rego_parse_error"))
        status, _, body = await get("/readyz?verbose")
        failed = {c["name"]: c["detail"] for c in json.loads(body)["checks"] if not c["ok"]}
        assert status == 503
        assert failed == {"worker-0-models": "0 available", "worker-0-policy": "main.rego:3:1: rego_parse_error"}
        clock.now_us += 60_000_000
        assert (await get("/readyz"))[2] == "not ready: worker-0: last heard of 60.0 s ago\n"
        assert (await get("/livez"))[::2] == (200, "ok\n")


async def test_version_and_config(shards, clock) -> None:
    async with running(shards.root.parent, clock) as get:
        assert json.loads((await get("/version"))[2]) == {"version": "1.2.3"}
        assert json.loads((await get("/config"))[2]) == {"port": 8001}
        assert (await get("/nothing"))[0] == 404
        pages = (await get("/"))[2].split()
        assert {(await get(page))[0] for page in pages} <= {200, 503}
        assert "/readyz?verbose" in pages


async def test_steps_run_and_a_broken_one_stops_neither_the_others_nor_the_observer(
    shards, clock, caplog: pytest.LogCaptureFixture
) -> None:
    ran = asyncio.Event()

    def broken() -> None:
        raise RuntimeError("no")

    async def works() -> None:
        ran.set()

    async with running(shards.root.parent, clock, steps=(broken, works)) as get:
        await asyncio.wait_for(ran.wait(), 5)
        assert (await get("/livez"))[0] == 200
    assert "observer.step_failed" in caplog.text


async def test_what_is_committed_before_the_stop_is_folded_before_the_end(shards, record, clock) -> None:
    data = shards.root.parent
    async with running(data, clock):
        shards.add(*(record(seq) for seq in range(3000)))
    async with running(data, clock) as get:
        await until(get, "/metrics", 'code="OK"} 3000')


async def test_uvicorn_leaves_the_signals_to_their_owner(shards, clock) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        async with running(shards.root.parent, clock) as get:
            os.kill(os.getpid(), signal.SIGTERM)
            assert (await get("/livez"))[0] == 200
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_a_port_in_use_is_named(shards, clock) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = Settings(port=taken.getsockname()[1])
        observer = Observer(shards.root.parent, settings, clock_us=clock, clock_ns=lambda: 0)
        with pytest.raises(OSError, match=rf"admin address 127.0.0.1:{settings.port}: "):
            await observer.run(asyncio.Event())


async def test_a_page_has_each_family_once_whatever_is_exported(shards, clock) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    async with running(shards.root.parent, clock, environ=environ) as get:
        status, _, text = await get("/metrics")
        assert status == 200
        heads = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
        assert len(heads) == len(set(heads))
        assert 'gateway_ledger_lag_seconds{follower="changes"} 0.0' in text
        assert "gateway_traces_kept_total" in text


async def test_a_collector_that_hangs_holds_up_neither_scrapes_nor_folds_nor_the_exit(
    shards, record, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = Received()
    received.hang.set()
    receiver = HttpReceiver(received)
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    try:
        async with running(shards.root.parent, clock, environ=environ) as get:
            for seq in range(5):
                shards.add(record(seq, t_us=clock.now_us))
                clock.now_us += 1_000_000
                started = time.monotonic()
                await until(get, "/metrics", f'decision="allow",code="OK"}} {seq + 1}')
                assert time.monotonic() - started < 2
            text = await until(get, "/metrics", 'gateway_ledger_lag_seconds{follower="usage"} 0.0')
            assert 'gateway_ledger_lag_seconds{follower="traces"} 5.0' in text
            leaving = time.monotonic()
        assert time.monotonic() - leaving < 5
    finally:
        received.hang.clear()
        receiver.close()
    received.traces.clear()
    receiver = HttpReceiver(received, receiver.port)
    try:
        async with running(shards.root.parent, clock, environ=environ) as get:
            await until(get, "/metrics", 'gateway_ledger_lag_seconds{follower="traces"} 0.0')
    finally:
        receiver.close()
    servers = {span.trace_id.hex() for span in received.spans if span.kind == span.SPAN_KIND_SERVER}
    assert servers == {record(seq).trace for seq in range(5)}
