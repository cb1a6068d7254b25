"""ModelInfer: bytes to a call, the handler's reply to bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

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


class Door(NamedTuple):
    """While too many calls are in flight, those that come are turned away before anything is done for them.

    What overload costs is the price of a refusal, and a call that was decoded, framed as an exception and explained
    costs half of one that is answered. Whoever is turned away here was not authenticated, decided on or run.

    ``full`` says whether a call is one too many beside so many others, for a caller who will wait so many nanoseconds
    (see ``Admission.full``). ``counted`` writes down one of a peer's who is turned away; False for one who is to be
    heard and then refused by admission, with a record (see ``Recorder.shed``).
    """

    full: Callable[[int, int | None], bool]
    counted: Callable[[str], bool]
    retry_after_ms: int


def shedding(door: Door) -> Shed:
    """Turns calls away at ``door``, with one refusal for all."""
    full, counted, retry_after_ms = door
    error = Overloaded("more calls are in flight than can be answered in time; retry later", retry_after_ms)
    refused, usual, excess = refusal(error, call_id=""), Entry.USUAL, Entry.EXCESS

    def shed(peer: str, running: int, left_ns: int | None) -> Refused | Entry:
        if not full(running, left_ns):
            return usual
        return refused if counted(peer) else excess

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
