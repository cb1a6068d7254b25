"""The log: one event a line, nothing secret, and a storm that does not drown the rest."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest

from gateway import logs


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    yield stream
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    logging.getLogger("uvicorn").setLevel(logging.NOTSET)


def written(lines: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_fields(lines: io.StringIO) -> None:
    logging.getLogger("gateway.x").warning("model.failed", extra={"model": "credit\nrisk", "trace_id": "ab"})
    (entry,) = written(lines)
    assert (entry["event"], entry["level"], entry["logger"]) == ("model.failed", "warning", "gateway.x")
    assert (entry["model"], entry["trace_id"]) == ("credit\nrisk", "ab")


def test_an_exception_stays_on_its_line(lines: io.StringIO) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("gateway.x").exception("step.failed")
    (entry,) = written(lines)
    assert "ValueError: no" in str(entry["exception"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("authorization: Bearer abc.def-123", "authorization: Bearer <hidden>"),
        ("x-api-key: k1", "x-api-key: <hidden>"),
        ("{'x-api-key': 'k1', 'a': 1}", "{'x-api-key': '<hidden>', 'a': 1}"),
        ("cannot reach https://user:pass@opa:8181/v1", "cannot reach https://user:<hidden>@opa:8181/v1"),
        ("key gwk_1a2b3c4d_" + "0f" * 32, "key gwk_<hidden>"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "token eyJhbGciOiJIUzI1NiJ9.<hidden>"),
        (
            "model credit:3 of gw.0/17, policy r7, sha256:" + "ab" * 32,
            "model credit:3 of gw.0/17, policy r7, sha256:" + "ab" * 32,
        ),
        ("prediction gw-0.1/1234567890123456789012345", "prediction gw-0.1/1234567890123456789012345"),
    ],
)
def test_what_looks_like_a_credential_is_hidden_and_nothing_else(text: str, expected: str) -> None:
    assert logs.redact(text) == expected


def test_credentials_in_fields_and_tracebacks_are_hidden(lines: io.StringIO) -> None:
    try:
        raise ValueError("Bearer sesame")
    except ValueError:
        logging.getLogger("gateway.x").exception("failed with Bearer sesame", extra={"header": "Bearer sesame"})
    assert "sesame" not in lines.getvalue()


def record(created: float, level: int = logging.ERROR, text: str = "delivery.failed") -> logging.LogRecord:
    made = logging.LogRecord("gateway.x", level, "f", 1, text, (), None)
    made.created = created
    return made


def test_a_repeated_error_is_written_five_times_a_minute_and_then_counted() -> None:
    repeats = logs.Repeats()
    passed = [repeats.filter(record(t)) for t in range(60)]
    assert passed == [True] * 5 + [False] * 55
    after = record(61)
    assert repeats.filter(after)
    assert after.suppressed == 55  # type: ignore[attr-defined]


def test_other_events_pass_meanwhile_and_information_always_does() -> None:
    repeats = logs.Repeats()
    for t in range(50):
        repeats.filter(record(t))
    assert repeats.filter(record(50, text="another"))
    assert all(repeats.filter(record(t, logging.INFO)) for t in range(50))


def test_a_clock_that_is_set_back_does_not_silence_anything() -> None:
    repeats = logs.Repeats()
    for _ in range(50):
        repeats.filter(record(1_000_000))
    assert repeats.filter(record(10))


def test_a_web_server_that_says_all_twice_is_written_once(lines: io.StringIO) -> None:
    logging.getLogger("gateway.x").info("up on 1", extra={"color_message": "up on \x1b[1m1", "port": 1})
    (entry,) = written(lines)
    assert "color_message" not in entry
    assert entry["port"] == 1


def test_text_leaves_empty_fields_out_and_keeps_zero() -> None:
    made = logging.makeLogRecord({"msg": "servable.ready", "name": "gateway.x", "reason": "", "model": "m", "count": 0})
    line = logs.TextFormatter().format(made)
    assert line.endswith("gateway.x  servable.ready  model=m  count=0")


@pytest.mark.parametrize(("level", "seen"), [("debug", True), ("info", False)])
def test_the_web_servers_information_is_for_debugging(
    lines: io.StringIO, level: Literal["debug", "info"], seen: bool
) -> None:
    logs.configure(level, "json", lines)
    server = logging.getLogger("uvicorn.error")
    server.info("Started server process [1]")
    server.warning("Invalid HTTP request received.")
    events = [entry["event"] for entry in written(lines)]
    assert ("Started server process [1]" in events) is seen
    assert "Invalid HTTP request received." in events
