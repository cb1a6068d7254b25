"""ModelInfer: bytes to a call, the handler's reply to bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from gateway.errors import Overloaded
from gateway.rpc.actions import INFER
from gateway.rpc.codec import decode_infer, encode_reply
from gateway.rpc.governed import Governed
from gateway.rpc.regions import Regions
from gateway.rpc.status import answer_trailers, refusal
from gateway.transport.seam import Answer, Entry, Head, Refused, Shed, Unary
from gateway.types import Call, Delivery, Reply

Handler: TypeAlias = Callable[[Call, Callable[[Reply], bytes]], Awaitable[Delivery]]
"""The life of a prediction: a decoded call and how its reply is encoded, to bytes whose record is durable."""


class Door(Protocol):
    """Knows when too many calls are in flight, and counts those whom it turns away."""

    @property
    def retry_after_ms(self) -> int: ...

    def full(self, running: int, left_ns: int | None) -> bool: ...

    def turns_away(self, peer: str) -> bool: ...


def shedding(door: Door) -> Shed:
    """Turns calls away while too many are in flight, with one refusal for all; ``door`` says whom the handler is to
    refuse instead, with a record."""
    full = Overloaded("more calls are in flight than can be answered in time; retry later", door.retry_after_ms)
    refused = refusal(full, call_id="")

    def shed(peer: str, running: int, left_ns: int | None) -> Refused | Entry:
        if not door.full(running, left_ns):
            return Entry.USUAL
        return refused if door.turns_away(peer) else Entry.EXCESS

    return shed


def model_infer(governed: Governed, handler: Handler, regions: Regions) -> Unary:
    """The handler of ModelInfer."""

    def encode(reply: Reply) -> bytes:
        return encode_reply(reply, regions)

    async def handle(head: Head, body: bytes) -> Answer:
        asked = governed.context(head, INFER, len(body))
        trace_id = asked.trace.trace_id
        try:
            delivery = await handler(decode_infer(body, asked, regions), encode)
        except Exception as error:
            raise refusal(error, call_id=asked.call_id, trace_id=trace_id) from error
        return Answer(delivery.body, answer_trailers(trace_id, delivery))

    return handle
