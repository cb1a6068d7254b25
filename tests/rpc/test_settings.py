"""Log and trace settings: read and changed under policy, effective in every worker, checked like any input."""

from __future__ import annotations

import asyncio
import logging

import pytest
from predictions import begun

from gateway.rpc.log_settings import LogSettings, LogState, state_of
from gateway.rpc.trace_settings import TraceSettings, TraceState
from gateway.shared_file import SharedFile
from gateway.transport.seam import Head, Refused
from gateway.types import Delivery, TraceContext
from gateway.v1 import inference as v1

SERVICE = "inference.GRPCInferenceService"
TRACE = TraceContext(trace_id="1" * 32, span_id="2" * 16)


class Levels:
    """A process whose log level can be set."""

    def __init__(self, path) -> None:
        self.level = logging.INFO
        self.settings = LogSettings(SharedFile(path / "log", LogState, LogState(), epoch="1"), self.set)
        self.settings.follow()

    def set(self, level: int) -> None:
        self.level = level


@pytest.fixture
def process(tmp_path):
    return Levels(tmp_path)


@pytest.fixture
def traces(tmp_path):
    return TraceSettings(SharedFile(tmp_path / "trace", TraceState, TraceState(), epoch="1"))


@pytest.fixture
def ask(build, call, process, traces):
    table = build(logs=process.settings, traces=traces)

    async def ask(method: str, settings: dict, **fields):
        request = getattr(v1, f"{method}Request")(settings=settings, **fields)
        response, _ = await call(method, request, getattr(v1, f"{method}Response"), table)
        return response.settings

    return ask


def log(**values):
    return v1.LogSettingsRequest.SettingValue(**values)


def trace(*values: str):
    return v1.TraceSettingRequest.SettingValue(value=values)


async def test_log_settings_are_read_as_they_are(ask, gate):
    settings = await ask("LogSettings", {})
    assert settings["log_info"].bool_param
    assert settings["log_verbose_level"].uint32_param == 0
    assert (settings["log_format"].string_param, settings["log_file"].string_param) == ("default", "")
    assert gate.seen == ["logging:get"]


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({"log_verbose_level": log(uint32_param=1)}, logging.DEBUG),
        ({"log_info": log(bool_param=False)}, logging.WARNING),
        ({"log_info": log(bool_param=False), "log_warning": log(bool_param=False)}, logging.ERROR),
        ({f"log_{n}": log(bool_param=False) for n in ("info", "warning", "error")}, logging.CRITICAL),
    ],
)
async def test_a_change_sets_the_level_here_and_in_other_workers(ask, gate, process, tmp_path, changes, level):
    other = Levels(tmp_path)
    await ask("LogSettings", changes)
    other.settings.follow()
    assert (process.level, other.level) == (level, level)
    assert gate.seen == ["logging:update"]
    assert set(gate.facts.writes) == set(changes)


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"log_file": log(string_param="x")}, 12, "log file location can not be updated through network protocol"),
        ({"log_info": log(string_param="x")}, 3, "'log_info' came as str, expected bool"),
        ({"log_verbose_level": log(bool_param=True)}, 3, "expected int"),
        ({"log_format": log(string_param="x")}, 3, "expected default or ISO8601"),
        ({"log_all": log(bool_param=True)}, 3, "'log_all' is unknown"),
    ],
)
async def test_log_settings_that_cannot_be_are_refused(ask, process, changes, code, text):
    with pytest.raises(Refused, match=text) as refused:
        await ask("LogSettings", changes)
    assert refused.value.code == code
    assert process.level == logging.INFO


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_the_configured_level_is_what_is_answered(level):
    assert state_of(level).level == level


async def test_trace_settings_of_all_and_of_one_model(ask, gate):
    await ask("TraceSetting", {"trace_level": trace("TIMESTAMPS"), "trace_rate": trace("2")})
    one = await ask("TraceSetting", {"trace_rate": trace("5")}, model_name="credit")
    assert (one["trace_level"].value, one["trace_rate"].value) == (["TIMESTAMPS"], ["5"])
    everywhere = await ask("TraceSetting", {})
    assert everywhere["trace_rate"].value == ["2"]
    cleared = await ask("TraceSetting", {"trace_rate": trace()}, model_name="credit")
    assert cleared["trace_rate"].value == ["2"]
    assert gate.seen == ["trace:update", "trace:update", "trace:get", "trace:update"]


@pytest.mark.parametrize(
    ("changes", "model", "code", "text"),
    [
        ({"trace_file": trace("x")}, "", 12, "trace file location can not be updated through network protocol"),
        ({"trace_mode": trace("x")}, "", 12, "trace mode"),
        ({"trace_level": trace("TENSORS")}, "", 12, "tensors never enter a trace"),
        ({"trace_level": trace("HIGH")}, "", 3, "expected OFF or TIMESTAMPS"),
        ({"trace_rate": trace("0")}, "", 3, "expected one number of 1 or more"),
        ({"trace_rate": trace("1", "2")}, "", 3, "expected one number"),
        ({"trace_count": trace("-2")}, "", 3, "expected one number of -1 or more"),
        ({}, "nobody", 3, "Request for unknown model : nobody"),
    ],
)
async def test_trace_settings_that_cannot_be_are_refused(ask, changes, model, code, text):
    with pytest.raises(Refused, match=text) as refused:
        await ask("TraceSetting", changes, model_name=model)
    assert refused.value.code == code


async def test_unknown_trace_settings_are_ignored(ask):
    assert "other" not in await ask("TraceSetting", {"other": trace("x")})


def test_every_so_manieth_call_is_marked_and_no_more_than_asked(traces):
    traces.change("m", {"trace_level": "TIMESTAMPS", "trace_rate": "3", "trace_count": "2"})
    traces.follow()
    assert [traces.mark("m", TRACE).flags for _ in range(10)] == ["01", "00", "00", "01", *["00"] * 6]
    assert traces.mark("other", TRACE) is TRACE


def test_nothing_is_marked_unless_asked(traces):
    traces.follow()
    assert traces.mark("m", TRACE) is TRACE


class Deaf:
    """Needs not be told."""

    def answer(self, answer): ...
    def refuse(self, refused): ...
    def stopped(self): ...


async def test_a_marked_call_begins_as_sampled_in_whatever_way_it_came(build, traces):
    seen = []

    async def recorded(call, encode):
        seen.append(call.context.trace.flags)
        return Delivery(b"")

    traces.change("", {"trace_level": "TIMESTAMPS", "trace_rate": "2"})
    traces.follow()
    table = build(begin=begun(recorded), traces=traces)
    body, infer = v1.ModelInferRequest(model_name="m").SerializeToString(), f"{SERVICE}/ModelInfer"

    async def three():
        for _ in range(3):
            yield body

    for _ in range(3):
        await table.unary[infer](Head(method=infer), body)
    for _ in range(3):
        table.prompt[infer](Head(method=infer), body, Deaf())
        await asyncio.sleep(0)
    path = f"{SERVICE}/ModelStreamInfer"
    _ = [answer async for answer in table.stream[path](Head(method=path), three())]
    assert seen == ["01", "00", "01", "00", "01", "00", "01", "00", "01"]
