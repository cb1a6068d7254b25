"""ModelInfer: bytes to a call, the handler's reply to bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from gateway.rpc.actions import INFER
from gateway.rpc.codec import decode_infer, encode_reply
from gateway.rpc.governed import Governed
from gateway.rpc.prompt import Mark
from gateway.rpc.regions import Regions
from gateway.rpc.status import answer_trailers, refusal
from gateway.transport.seam import Answer, Head, Unary
from gateway.types import Call, Delivery, Reply

Handler: TypeAlias = Callable[[Call, Callable[[Reply], bytes]], Awaitable[Delivery]]
"""The life of a prediction: a decoded call and how its reply is encoded, to bytes whose record is durable."""


def model_infer(governed: Governed, handler: Handler, regions: Regions, mark: Mark | None = None) -> Unary:
    """The handler of ModelInfer, for transports whose handlers wait. ``mark`` is as for ``prompt_infer``."""

    def encode(reply: Reply) -> bytes:
        return encode_reply(reply, regions)

    async def handle(head: Head, body: bytes) -> Answer:
        asked = governed.context(head, INFER, len(body))
        trace_id = asked.trace.trace_id
        try:
            call = decode_infer(body, asked, regions)
            delivery = await handler(call if mark is None else mark(call), encode)
        except Exception as error:
            raise refusal(error, call_id=asked.call_id, trace_id=trace_id) from error
        return Answer(delivery.body, answer_trailers(trace_id, delivery))

    return handle
