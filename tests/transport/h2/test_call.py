"""A call that is served without a task: its end is told once, and whatever goes wrong it is over then."""

from __future__ import annotations

import pytest

from gateway.errors import Code
from gateway.transport.h2.call import Call
from gateway.transport.h2.method import Method
from gateway.transport.seam import Answer, Head, Prompt, Refused, Told, Work


class Running:
    calls = 1


class Wire:
    """Writes down what it is asked to send; ``broken`` lets it fail at that, ``dead`` at INTERNAL too."""

    def __init__(self, broken: type[BaseException] | None = None, *, dead: bool = False) -> None:
        self.broken = broken
        self.dead = dead
        self.sent: list[object] = []
        self.closed_calls = 0

    def answer(self, call: Call, answer: Answer) -> None:
        self._try()
        self.sent.append(answer.body)

    def refuse(self, call: Call, refused: Refused) -> None:
        if self.dead or refused.code != Code.INTERNAL:
            self._try()
        self.sent.append(refused.code)

    def closed(self, call: Call) -> None:
        call.work = None
        self.closed_calls += 1

    def _try(self) -> None:
        if self.broken:
            raise self.broken("no header can hold this")


class Later:
    """Work that ends when it is cancelled."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def cancel(self) -> None:
        self._told.stopped()


def begun(wire: Wire, handler) -> tuple[Call, Running]:
    call, running = Call(), Running()
    call.head, call.method = Head(method="m"), Method("m")
    call.begin(wire, handler, b"body", running)  # type: ignore[arg-type]
    return call, running


def is_over(call: Call, wire: Wire, running: Running) -> bool:
    return (call.work, wire.closed_calls, running.calls) == (None, 1, 0)


def answering(head: Head, body: bytes, told: Told) -> Work | None:
    told.answer(Answer(body))
    return None


def refusing(head: Head, body: bytes, told: Told) -> Work | None:
    told.refuse(Refused(Code.PERMISSION_DENIED, "no"))
    return None


def test_an_end_that_is_told_at_once_leaves_no_work() -> None:
    wire = Wire()
    call, running = begun(wire, answering)
    assert wire.sent == [b"body"]
    assert is_over(call, wire, running)
    call.answer(Answer(b"again"))
    call.refuse(Refused(Code.INTERNAL, "again"))
    call.stopped()
    assert (wire.sent, running.calls) == ([b"body"], 0)


def test_work_goes_on_until_its_end_is_told() -> None:
    wire = Wire()
    call, running = begun(wire, lambda head, body, told: Later(told))
    assert (call.started, wire.sent, running.calls) == (True, [], 1)
    assert call.work is not None
    call.expired = True
    call.work.cancel()
    assert wire.sent == [Code.DEADLINE_EXCEEDED]
    assert is_over(call, wire, running)


@pytest.mark.parametrize("broken", [ValueError, RuntimeError])
def test_an_answer_that_cannot_be_sent_is_internal(broken: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(broken)
    call, running = begun(wire, answering)
    assert wire.sent == [Code.INTERNAL]
    assert is_over(call, wire, running)
    assert [entry.message for entry in caplog.records] == ["transport.handler_failed"]


def test_a_refusal_that_cannot_be_sent_is_internal(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(ValueError)
    call, running = begun(wire, refusing)
    assert wire.sent == [Code.INTERNAL]
    assert is_over(call, wire, running)
    assert caplog.records


class Panic(BaseException):
    """What Rust panics with is no ``Exception``."""


def failing(head: Head, body: bytes, told: Told) -> Work | None:
    raise Panic("a secret of the implementation")


@pytest.mark.parametrize("handler", [answering, refusing, failing])
@pytest.mark.parametrize("broken", [ValueError, RuntimeError, Panic])
def test_a_call_is_over_even_if_nothing_can_be_sent(
    caplog: pytest.LogCaptureFixture, handler: Prompt, broken: type[BaseException]
) -> None:
    wire = Wire(broken, dead=True)
    call, running = begun(wire, handler)
    assert wire.sent == []
    assert is_over(call, wire, running)
    assert caplog.records


def test_a_handler_that_raises_is_internal_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire()
    call, running = begun(wire, failing)
    assert wire.sent == [Code.INTERNAL]
    assert is_over(call, wire, running)
    assert caplog.records


def test_work_that_cannot_be_cancelled_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck:
        def cancel(self) -> None:
            raise RuntimeError

    call, _ = begun(Wire(), lambda head, body, told: Stuck())
    call.cancel()
    assert [entry.message for entry in caplog.records] == ["transport.handler_failed"]
