"""The OPA transport against servers that misbehave: what was not answered properly is never an allow."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.errors import DeadlineExceeded, PolicyUnavailable
from gateway.policy.breaker import Breaker
from gateway.policy.connections import Address, Pool
from gateway.policy.opa import OpaPoint
from gateway.policy.pdp import Query
from gateway.policy.schema import Gateway

MakeQuery = Callable[..., Query]
Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
ALLOW = {"v": 1, "allow": True, "reasons": [], "obligations": []}
BODY = json.dumps({"result": ALLOW, "provenance": {"bundles": {"authz": {"revision": "r7"}}}}).encode()


def response(body: bytes, status: int = 200, extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), extra, body)


@asynccontextmanager
async def opa(tmp_path: Path, handle: Handler, *, budget_ms: int = 150) -> AsyncIterator[tuple[OpaPoint, list[bytes]]]:
    """A point on a server that gives each request body to ``handle``; the bodies are kept."""
    seen: list[bytes] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                seen.append(await reader.readexactly(length))
                await handle(seen[-1], writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, str(tmp_path / "s"))
    address = Address.parse(f"unix://{tmp_path}/s")
    point = OpaPoint(Pool(address, size=2), address, gateway=Gateway(), clock_ns=time.monotonic_ns, budget_ms=budget_ms)
    try:
        yield point, seen
    finally:
        point.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def saying(data: bytes, *, close: bool = False) -> Handler:
    async def handle(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if close:
            await writer.drain()
            writer.close()

    return handle


async def test_an_allow_with_its_revision_over_one_kept_connection(tmp_path: Path, make_query: MakeQuery) -> None:
    async with opa(tmp_path, saying(response(BODY))) as (point, seen):
        for _ in range(3):
            decision = await point.decide(make_query())
            assert (decision.allow, decision.engine, decision.revision) == (True, "opa", "authz@r7")
        assert len(seen) == 3
        assert point._pool._open == 1
        assert json.loads(seen[0])["input"]["subject"]["tenant"] == "clinic"


@pytest.mark.parametrize(
    "data",
    [
        response(b"{}", 503),
        response(b"{}", 401),
        response(b"{}", 403),
        response(b"{}", 404),
        response(b"{}", 400),
        response(b'{"code": "internal_error", "message": "disk"}', 500),
        response(b"not json", 500),
        response(b"not json"),
        response(b"{}"),
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{",
    ],
)
async def test_what_is_no_decision_is_unavailable(tmp_path: Path, make_query: MakeQuery, data: bytes) -> None:
    async with opa(tmp_path, saying(data, close=True), budget_ms=5_000) as (point, seen):
        with pytest.raises(PolicyUnavailable):
            await point.decide(make_query())
        assert len(seen) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"provenance": {"bundles": {"a": {"revision": "1"}}}}, 200, "policy_undefined"),
        ({"result": {**ALLOW, "allow": "true"}}, 200, "invalid_decision"),
        ({"result": {**ALLOW, "obligation": []}}, 200, "invalid_decision"),
        ({"result": "<undefined>"}, 200, "policy_undefined"),
        (
            {
                "code": "internal_error",
                "message": "x",
                "errors": [
                    {"code": "eval_type_error", "message": "m", "location": {"file": "p.rego", "row": 3, "col": 4}}
                ],
            },
            500,
            "policy_error",
        ),
    ],
)
async def test_what_decides_nothing_denies(
    tmp_path: Path, make_query: MakeQuery, body: dict[str, object], status: int, code: str
) -> None:
    async with opa(tmp_path, saying(response(json.dumps(body).encode(), status))) as (point, _):
        decision = await point.decide(make_query())
        assert (decision.allow, decision.codes) == (False, (code,))


async def test_an_evaluation_error_keeps_its_place(tmp_path: Path, make_query: MakeQuery) -> None:
    error = {"code": "eval_type_error", "message": "m", "location": {"file": "p.rego", "row": 3, "col": 4}}
    body = json.dumps({"code": "internal_error", "message": "x", "errors": [error]}).encode()
    async with opa(tmp_path, saying(response(body, 500))) as (point, _):
        assert (await point.decide(make_query())).reasons[0].msg == "m p.rego:3:4"


async def test_one_byte_at_a_time_and_chunked(tmp_path: Path, make_query: MakeQuery) -> None:
    async def handle(_: bytes, writer: asyncio.StreamWriter) -> None:
        data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()

    async with opa(tmp_path, handle, budget_ms=2000) as (point, _):
        assert (await point.decide(make_query())).allow is True


async def test_a_hang_ends_within_the_budget(tmp_path: Path, make_query: MakeQuery) -> None:
    async def handle(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with opa(tmp_path, handle, budget_ms=60) as (point, _):
        begun = time.monotonic()
        with pytest.raises(PolicyUnavailable):
            await point.decide(make_query())
        assert 0.05 < time.monotonic() - begun < 0.5


async def test_a_late_answer_never_meets_the_next_request(tmp_path: Path, make_query: MakeQuery) -> None:
    async def handle(body: bytes, writer: asyncio.StreamWriter) -> None:
        slow = b'"slow"' in body
        result = {**ALLOW, "policy_version": "late" if slow else "prompt"}
        if slow:
            await asyncio.sleep(0.1)
        writer.write(response(json.dumps({"result": result}).encode()))

    async with opa(tmp_path, handle, budget_ms=50) as (point, _):
        with pytest.raises(PolicyUnavailable):
            await point.decide(make_query(who="slow"))
        for _ in range(5):
            assert (await point.decide(make_query())).policy_version == "prompt"
            await asyncio.sleep(0.03)


async def test_a_close_after_the_answer_costs_one_new_connection(tmp_path: Path, make_query: MakeQuery) -> None:
    async with opa(tmp_path, saying(response(BODY, extra=b"Connection: close\r\n"), close=True)) as (point, seen):
        for _ in range(3):
            assert (await point.decide(make_query())).allow is True
        assert len(seen) == 3


async def test_many_callers_share_few_connections(tmp_path: Path, make_query: MakeQuery) -> None:
    async with opa(tmp_path, saying(response(BODY)), budget_ms=5000) as (point, seen):
        decisions = await asyncio.gather(*(point.decide(make_query()) for _ in range(50)))
        assert all(decision.allow for decision in decisions)
        assert len(seen) == 50
        assert point._pool._open <= 2


async def test_a_cancelled_caller_leaves_no_answer_behind(tmp_path: Path, make_query: MakeQuery) -> None:
    async def handle(body: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(response(BODY))

    async with opa(tmp_path, handle) as (point, _):
        task = asyncio.create_task(point.decide(make_query()))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await point.decide(make_query())).allow is True


async def test_nobody_listening_opens_the_breaker(tmp_path: Path, make_query: MakeQuery) -> None:
    address = Address.parse(f"unix://{tmp_path}/nobody")
    now = [0]
    point = OpaPoint(Pool(address), address, gateway=Gateway(), clock_ns=lambda: now[0])
    for _ in range(5):
        with pytest.raises(PolicyUnavailable, match=r"cannot be asked$"):
            await point.decide(make_query())
    with pytest.raises(PolicyUnavailable, match="left alone"):
        await point.decide(make_query())
    now[0] += 1_000_000_001
    with pytest.raises(PolicyUnavailable, match=r"cannot be asked$"):
        await point.decide(make_query())


async def test_a_call_out_of_time_is_not_asked(tmp_path: Path, make_query: MakeQuery) -> None:
    async with opa(tmp_path, saying(response(BODY))) as (point, seen):
        with pytest.raises(DeadlineExceeded):
            await point.decide(make_query(deadline_ns=1))
        assert seen == []


def test_the_breaker_opens_probes_and_closes() -> None:
    breaker = Breaker(failures=2, open_ms=10)
    assert breaker.admits(0)
    breaker.failed(0)
    assert breaker.admits(0)
    breaker.failed(0)
    assert breaker.is_open
    assert not breaker.admits(9_999_999)
    assert breaker.admits(10_000_000)
    assert not breaker.admits(10_000_000)  # one probe at a time
    breaker.abandoned()
    assert breaker.admits(10_000_000)
    breaker.failed(10_000_000)
    assert not breaker.admits(10_000_001)
    assert breaker.admits(20_000_000)
    breaker.succeeded()
    assert breaker.admits(20_000_000)
    assert not breaker.is_open


@pytest.mark.parametrize("url", ["localhost:8181", "ftp://x", "unix://", "http://"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="no OPA address"):
        Address.parse(url)


def test_addresses() -> None:
    assert Address.parse("http://[::1]:9").authority == "[::1]:9"
    assert Address.parse("https://opa.example").port == 443
    assert Address.parse("unix:///run/opa.sock").path == "/run/opa.sock"
