"""ModelStreamInfer: many predictions on one stream, each authenticated, decided and recorded by itself.

Messages run at once and are answered in the order in which they came, one answer each. What goes wrong with one is
an ordinary message with ``error_message``; the stream stays open. A stream that was opened with the metadata
``triton_grpc_error: true`` ends instead, with the status, at the first error of policy or of a model's run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from gateway.errors import GatewayError, InvalidInput, ModelNotFound, ModelUnavailable, Unparsable
from gateway.rpc.actions import STREAM_INFER
from gateway.rpc.codec import decode_infer, encode_reply
from gateway.rpc.context import span_id
from gateway.rpc.governed import Governed
from gateway.rpc.inference import Handler
from gateway.rpc.parameters import to_wire
from gateway.rpc.regions import Regions
from gateway.rpc.reply_bytes import streamed, text_parameter
from gateway.rpc.status import known_error, refusal
from gateway.transport.seam import Head, Stream
from gateway.types import Call, Context, Delivery, Reply, TraceContext
from gateway.v1.inference import InferParameter, ModelInferResponse, ModelStreamInferResponse

_FINAL = ModelInferResponse(parameters={"triton_final_response": InferParameter(bool_param=True)}).SerializeToString()
_IN_FLIGHT = 32  # messages of one stream that run or wait to be sent; then its sender is held back

_FOUND_BEFORE_THE_RUN = (InvalidInput, ModelNotFound, ModelUnavailable)
"""Errors that stay messages even where the caller asked for statuses, as in Triton."""


def model_stream_infer(governed: Governed, handler: Handler, regions: Regions) -> Stream:
    """The handler of ModelStreamInfer."""

    async def handle(head: Head, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        stream = _InferStream(governed, handler, regions, head)
        try:
            async for answer in stream.answers(messages):
                yield answer
        finally:
            await stream.close()

    return handle


class _InferStream:
    """One open stream. Belongs to the task that iterates its answers."""

    def __init__(self, governed: Governed, handler: Handler, regions: Regions, head: Head) -> None:
        self._governed = governed
        self._handler = handler
        self._regions = regions
        self._head = head
        self._opened = governed.context(head, STREAM_INFER)
        self._statuses = ("triton_grpc_error", b"true") in head.metadata
        self._pending: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(_IN_FLIGHT)
        self._tasks: set[asyncio.Task[bytes]] = set()
        self._reader: asyncio.Task[None] | None = None

    async def answers(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """One answer a message, in order. Raises: Refused, which ends the stream."""
        self._reader = asyncio.create_task(self._read(messages))
        while task := await self._pending.get():
            yield await task
        await self._reader

    async def close(self) -> None:
        """Cancel what is still running; returns when all of it has ended."""
        running = [task for task in (self._reader, *self._tasks) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _read(self, messages: AsyncIterator[bytes]) -> None:
        try:
            sequence = 0
            async for body in messages:
                sequence += 1
                task = asyncio.create_task(self._answer(body, sequence))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                await self._pending.put(task)
        except Exception:
            await self._pending.put(None)  # then ``answers`` finds this exception
            raise
        await self._pending.put(None)

    async def _answer(self, body: bytes, sequence: int) -> bytes:
        asked = self._context(len(body))
        trace_id = asked.trace.trace_id
        try:
            call = decode_infer(body, asked, self._regions, stream_seq=sequence)
        except Unparsable as error:
            raise refusal(error, call_id=asked.call_id, trace_id=trace_id) from error
        try:
            delivery = await self._handler(call, self._encode)
        except Exception as error:
            if self._statuses and not isinstance(error, _FOUND_BEFORE_THE_RUN):
                raise refusal(error, call_id=asked.call_id, trace_id=trace_id) from error
            return encode_error(call, known_error(error, asked.call_id, trace_id))
        return streamed(delivery.body, _quotes(delivery))

    def _context(self, size: int) -> Context:
        """The stream's context with times and a span of its own."""
        opened, clocks = self._opened, self._governed.clocks
        trace = opened.trace
        return Context(  # by position: by keyword, or replaced, it takes four times as long
            opened.action,
            TraceContext(trace.trace_id, span_id(), trace.parent_id, trace.flags, trace.state),
            opened.credentials,
            clocks.us(),
            clocks.ns(),
            opened.peer,
            opened.deadline_ns,
            opened.metadata,
            size,
        )

    def _encode(self, reply: Reply) -> bytes:
        return encode_reply(reply, self._regions)


def encode_error(call: Call, error: GatewayError) -> bytes:
    """The message that says that ``call`` failed; its id is the caller's only link to the request."""
    response = ModelInferResponse(id=call.request_id)
    response.parameters["triton_final_response"].bool_param = True
    if error.decision_id:
        response.parameters["gateway_decision_id"].CopyFrom(to_wire(error.decision_id))
    if error.prediction_id:
        response.parameters["gateway_prediction_id"].CopyFrom(to_wire(error.prediction_id))
    return ModelStreamInferResponse(error_message=str(error), infer_response=response).SerializeToString()


def _quotes(delivery: Delivery) -> bytes:
    # A stream has no trailers for each answer. The record's position is known only after the answer was encoded and
    # recorded; a singular message that comes twice on the wire is merged, so these parameters join the answer's own.
    quotes = _FINAL + text_parameter("gateway_prediction_id", delivery.prediction_id)
    quotes += text_parameter("gateway_decision_id", delivery.decision_id)
    for name, value in delivery.headers:
        quotes += text_parameter(name.replace("-", "_"), value)
    return quotes
