"""What the transport is told of a prediction that no task waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.errors import Code, PermissionDenied
from gateway.pipeline.prediction import Caller
from gateway.rpc.context import Clocks
from gateway.rpc.governed import Governed
from gateway.rpc.prompt import prompt_infer
from gateway.rpc.regions import NO_REGIONS
from gateway.transport.seam import Answer, Head, Refused
from gateway.types import Call, Delivery
from gateway.v1.inference import ModelInferRequest

BODY = ModelInferRequest(model_name="m").SerializeToString()


class Told:
    """Remembers the end."""

    def __init__(self) -> None:
        self.ends: list[Answer | Refused | None] = []

    def answer(self, answer: Answer) -> None:
        self.ends.append(answer)

    def refuse(self, refused: Refused) -> None:
        self.ends.append(refused)

    def stopped(self) -> None:
        self.ends.append(None)

    @property
    def end(self) -> Answer | Refused | None:
        (end,) = self.ends
        return end


class Work:
    def cancel(self) -> None: ...


def asked(say: Callable[[Caller], None], body: bytes = BODY, mark=None) -> tuple[Told, list[Call]]:
    """What is told of a call whose caller ``say`` tells the end."""
    told, calls = Told(), []

    def begin(call, encode, caller):
        calls.append(call)
        say(caller)
        return Work()

    governed = Governed(None, Clocks(us=lambda: 1, ns=lambda: 1))  # type: ignore[arg-type]  # no gate is asked
    prompt_infer(governed, begin, NO_REGIONS, mark)(Head(method="x"), body, told)
    return told, calls


def test_an_answer_has_what_the_caller_may_quote() -> None:
    told, (call,) = asked(lambda c: c.delivered(Delivery(b"y", "gw.0/7", "d1", (("x-note", "pilot"),))))
    assert isinstance(told.end, Answer)
    assert told.end.body == b"y"
    assert told.end.trailers == (
        ("gateway-prediction-id", b"gw.0/7"),
        ("gateway-trace-id", call.context.trace.trace_id.encode()),
        ("gateway-decision-id", b"d1"),
        ("x-note", b"pilot"),
    )


def test_an_error_is_a_status_and_a_cancelled_call_is_stopped() -> None:
    told, _ = asked(lambda c: c.failed(PermissionDenied(("tenant",), "d1")))
    assert isinstance(told.end, Refused)
    assert told.end.code == Code.PERMISSION_DENIED
    told, _ = asked(lambda c: c.failed(asyncio.CancelledError()))
    assert told.end is None


def test_what_is_no_message_is_refused_before_anything_begins() -> None:
    told, calls = asked(lambda c: c.delivered(Delivery(b"")), body=b"\xff\xff")
    assert isinstance(told.end, Refused)
    assert (told.end.code, calls) == (Code.INTERNAL, [])


def test_what_cannot_be_said_is_internal_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    told, _ = asked(lambda c: c.delivered(Delivery(b"y", "gw.0/7", "d1", (("x-note", "\ud800"),))))
    assert isinstance(told.end, Refused)
    assert told.end.code == Code.INTERNAL
    told, _ = asked(lambda c: c.failed(PermissionDenied(("\ud800",), "d1")))
    assert isinstance(told.end, Refused)
    assert (told.end.code, told.end.message) == (Code.INTERNAL, "internal error")
    assert [entry.message for entry in caplog.records] == ["call.failed", "rpc.refusal_failed"]


def test_what_is_no_exception_is_internal_and_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    told, _ = asked(lambda c: c.failed(BaseException("a panic")))
    assert isinstance(told.end, Refused)
    assert told.end.code == Code.INTERNAL
    assert "panic" not in told.end.message
    assert [entry.message for entry in caplog.records] == ["call.failed"]


def test_a_call_may_be_marked_before_it_begins() -> None:
    other = Call(None, None)  # type: ignore[arg-type]
    _, calls = asked(lambda c: c.delivered(Delivery(b"")), mark=lambda call: other)
    assert calls == [other]
