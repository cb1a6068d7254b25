"""ModelStreamInfer: one answer a message, in order; errors are messages; nothing runs on after the caller left."""

from __future__ import annotations

import asyncio
import gc

import pytest
from predictions import begun

from gateway.errors import InvalidInput, ModelFailed, PermissionDenied
from gateway.rpc.context import Clocks
from gateway.rpc.governed import Governed
from gateway.rpc.regions import NO_REGIONS
from gateway.rpc.stream_message import StreamMessage
from gateway.rpc.streaming import model_stream_infer
from gateway.transport.seam import Head, Refused
from gateway.types import Delivery, Reply, ServableId
from gateway.v1.inference import ModelInferRequest, ModelStreamInferResponse

ERRORS = {
    "denied": PermissionDenied(("not_yours",), "d-2"),
    "failed": ModelFailed("model 'm' failed"),
    "invalid": InvalidInput("no such input"),
    "bug": ZeroDivisionError("secret"),
}

GOVERNED = Governed(None, Clocks(us=lambda: 1, ns=lambda: 1))


class Slow:
    """Answers a message when its id is released; names of models in ERRORS fail."""

    def __init__(self, *, released: bool = True) -> None:
        self.released = asyncio.Event()
        if released:
            self.released.set()
        self.running = 0
        self.most = 0
        self.cancelled = 0
        self.contexts = []

    async def __call__(self, call, encode):
        self.contexts.append((call.context, call.stream_seq))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.released.wait()
            await asyncio.sleep(0.02 if call.request_id == "0" else 0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if call.model.name in ERRORS:
            raise ERRORS[call.model.name]
        body = encode(Reply(call=call, servable=ServableId(call.model.name, "1", ""), outputs=()))
        return Delivery(
            body=body, prediction_id=f"s/{call.stream_seq}", decision_id="d-1", headers=(("gateway-masked", "y"),)
        )


def opened(handler, messages, metadata=()):
    return model_stream_infer(GOVERNED, begun(handler), NO_REGIONS)(Head(method="s", metadata=metadata), messages)


async def sent(*models: str):
    for index, model in enumerate(models):
        yield ModelInferRequest(model_name=model, id=str(index)).SerializeToString()


async def collected(answers) -> list[ModelStreamInferResponse]:
    return [ModelStreamInferResponse.FromString(answer) async for answer in answers]


async def test_answers_come_in_the_order_of_the_requests():
    handler = Slow()
    answers = await collected(opened(handler, sent("m", "m", "m")))
    assert [a.infer_response.id for a in answers] == ["0", "1", "2"]
    assert handler.most == 3
    assert all(a.infer_response.parameters["triton_final_response"].bool_param for a in answers)
    assert [a.infer_response.parameters["gateway_prediction_id"].string_param for a in answers] == ["s/1", "s/2", "s/3"]
    assert {a.infer_response.parameters["gateway_masked"].string_param for a in answers} == {"y"}


async def test_each_message_has_a_span_and_a_number_of_its_own_in_one_trace():
    handler = Slow()
    await collected(opened(handler, sent("m", "m")))
    (one, first), (other, second) = handler.contexts
    assert (first, second) == (1, 2)
    assert one.trace.trace_id == other.trace.trace_id
    assert one.trace.span_id != other.trace.span_id
    assert one.action.stream


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("denied", "denied by policy: not_yours"),
        ("failed", "model 'm' failed"),
        ("invalid", "no such input"),
        ("bug", "internal error"),
    ],
)
async def test_an_error_is_a_message_and_the_stream_goes_on(model, text):
    bad, good = await collected(opened(Slow(), sent(model, "m")))
    assert bad.error_message.startswith(text)
    assert bad.infer_response.id == "0"
    assert "secret" not in bad.error_message
    assert (good.error_message, good.infer_response.id) == ("", "1")


@pytest.mark.parametrize(("model", "code"), [("denied", 7), ("failed", 13)])
async def test_a_stream_that_asked_for_statuses_ends_with_the_first_error(model, code):
    answers = opened(Slow(), sent("m", model, "m"), (("triton_grpc_error", b"true"),))
    first = ModelStreamInferResponse.FromString(await anext(answers))
    assert first.infer_response.id == "0"
    with pytest.raises(Refused) as refused:
        await anext(answers)
    assert refused.value.code == code


async def test_what_validation_finds_stays_a_message_even_then():
    bad, good = await collected(opened(Slow(), sent("invalid", "m"), (("triton_grpc_error", b"true"),)))
    assert (bad.error_message, good.error_message) == ("no such input", "")


async def test_bytes_that_are_no_request_end_the_stream():
    async def garbage():
        yield b"\x0a\xff"

    with pytest.raises(Refused) as refused:
        await collected(opened(Slow(), garbage()))
    assert refused.value.code == 13


async def test_a_caller_who_leaves_cancels_what_is_running():
    handler = Slow(released=False)
    answers = opened(handler, sent(*["m"] * 5))
    waiting = asyncio.create_task(anext(answers))
    while handler.running < 5:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await answers.aclose()
    assert (handler.running, handler.cancelled) == (0, 5)


async def test_a_slow_reader_holds_the_sender_back():
    handler = Slow()
    pulled = 0

    async def endless():
        nonlocal pulled
        async for message in sent(*["m"] * 1000):
            pulled += 1
            yield message

    answers = opened(handler, endless())
    await anext(answers)
    await asyncio.sleep(0.05)
    assert pulled < 50
    await answers.aclose()


async def test_a_stream_that_breaks_while_it_is_read_raises_what_broke_it():
    async def broken():
        async for message in sent("m"):
            yield message
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await collected(opened(Slow(), broken()))


class Left:
    """A prediction that ends when its caller is told, by the test."""

    def __init__(self) -> None:
        self.begun = []
        self.cancelled = 0

    def begin(self, call, encode, caller):
        self.begun.append(caller)
        return self

    def cancel(self) -> None:
        self.cancelled += 1


async def test_a_stream_is_over_only_when_all_that_was_cancelled_has_ended():
    left = Left()
    answers = model_stream_infer(GOVERNED, left.begin, NO_REGIONS)(Head(method="s"), sent("m", "m"))
    waiting = asyncio.create_task(anext(answers))
    while len(left.begun) < 2:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0.01)
    assert (left.cancelled, waiting.done()) == (2, False)
    left.begun[1].failed(asyncio.CancelledError())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    left.begun[0].delivered(Delivery(b""))  # it had its answer already
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()


@pytest.mark.parametrize(
    ("end", "logged"),
    [
        (lambda caller: caller.failed(BaseException("a panic")), ["call.failed"]),
        (lambda caller: caller.delivered(Delivery(b"", "s/1", "d-1", (("k", "\ud800"),))), ["call.failed"]),
    ],
)
async def test_what_is_no_exception_or_no_text_is_an_internal_error_of_its_message(end, logged, caplog):
    def begin(call, encode, caller):
        end(caller)

    (answer,) = await collected(model_stream_infer(GOVERNED, begin, NO_REGIONS)(Head(method="s"), sent("m")))
    assert answer.error_message.startswith("internal error")
    assert "panic" not in answer.error_message
    assert [entry.message for entry in caplog.records] == logged


async def test_an_error_whose_text_is_no_text_ends_the_stream_with_its_status():
    def begin(call, encode, caller):
        caller.failed(PermissionDenied(("\ud800",), "d-2"))

    with pytest.raises(Refused) as refused:
        await collected(model_stream_infer(GOVERNED, begin, NO_REGIONS)(Head(method="s"), sent("m")))
    assert refused.value.code == 13


@pytest.mark.parametrize("error", [MemoryError(), BaseException("a panic")])
async def test_a_prediction_that_cannot_begin_ends_the_stream(error):
    def begin(call, encode, caller):
        raise error

    with pytest.raises(Refused) as refused:
        await collected(model_stream_infer(GOVERNED, begin, NO_REGIONS)(Head(method="s"), sent("m")))
    assert refused.value.code == 13


async def test_a_prediction_that_cannot_be_cancelled_does_not_keep_the_stream():
    class Stuck(Left):
        def cancel(self) -> None:
            super().cancel()
            raise BaseException("a panic")  # noqa: TRY002

    stuck = Stuck()
    answers = model_stream_infer(GOVERNED, stuck.begin, NO_REGIONS)(Head(method="s"), sent("m", "m"))
    waiting = asyncio.create_task(anext(answers))
    while len(stuck.begun) < 2:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting], timeout=5)
    assert (stuck.cancelled, waiting.cancelled()) == (2, True)


async def test_a_message_that_has_ended_leaves_no_circle():
    def begin(call, encode, caller):
        caller.delivered(Delivery(b""))
        return caller  # it knows its caller, as predictions do

    def alive():
        return sum(isinstance(found, StreamMessage) for found in gc.get_objects())

    gc.collect()
    gc.disable()
    before = alive()
    try:
        await collected(model_stream_infer(GOVERNED, begin, NO_REGIONS)(Head(method="s"), sent("m", "m")))
        assert alive() == before
    finally:
        gc.enable()
