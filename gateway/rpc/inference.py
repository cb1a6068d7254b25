"""ModelInfer: bytes to a call, the handler's reply to bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from gateway.rpc.actions import INFER
from gateway.rpc.codec import decode_infer, encode_reply
from gateway.rpc.context import Clocks, context
from gateway.rpc.regions import NO_REGIONS, Regions
from gateway.rpc.status import ok_trailers, refusal
from gateway.transport.seam import Answer, Head, Unary
from gateway.types import Call, Reply

Handler: TypeAlias = Callable[[Call], Awaitable[Reply]]
"""The life of a prediction, from a decoded call to a reply whose record is durable."""


def model_infer(
    handler: Handler, clocks: Clocks, *, allowed: frozenset[str] = frozenset(), regions: Regions = NO_REGIONS
) -> Unary:
    """The handler of ModelInfer. ``allowed`` are the metadata names that policy may see."""

    async def handle(head: Head, body: bytes) -> Answer:
        asked = context(head, INFER, clocks, allowed=allowed, size=len(body))
        trace_id = asked.trace.trace_id
        try:
            reply = await handler(decode_infer(body, asked, regions))
            encoded = encode_reply(reply, regions)
        except Exception as error:
            raise refusal(error, call_id=asked.call_id, trace_id=trace_id) from error
        trailers = ok_trailers(trace_id, reply.receipt.prediction_id, reply.decision_id)
        if reply.headers:
            trailers += tuple((name, value.encode()) for name, value in reply.headers)
        return Answer(encoded, trailers)

    return handle
