"""ModelInfer without a task: the caller is told the end, and nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from gateway.pipeline.prediction import Caller
from gateway.rpc.actions import INFER
from gateway.rpc.codec import decode_infer, encode_reply
from gateway.rpc.context import context
from gateway.rpc.governed import Governed
from gateway.rpc.regions import Regions
from gateway.rpc.status import answer_trailers, refusal
from gateway.transport.seam import Answer, Head, Prompt, Told, Work
from gateway.types import Call, Context, Delivery, Reply

Mark: TypeAlias = Callable[[Call], Call]
"""A call as it is to be served: the same, or with its trace sampled."""

Begin: TypeAlias = Callable[[Call, Callable[[Reply], bytes], Caller], Work]
"""Begins the life of a prediction (see ``inference.Handler``) whose end ``Caller`` hears."""


def prompt_infer(governed: Governed, begin: Begin, regions: Regions, mark: Mark | None = None) -> Prompt:
    """The handler of ModelInfer. ``mark`` says which calls' traces are sampled though nobody asked for it."""
    clocks, allowed, trust = governed.clocks, governed.allowed, governed.trust

    def encode(reply: Reply) -> bytes:
        return encode_reply(reply, regions)

    def handle(head: Head, body: bytes, told: Told) -> Work | None:
        asked = context(head, INFER, clocks, allowed=allowed, trust=trust, size=len(body))
        caller = _Asking(asked, told)
        try:
            call = decode_infer(body, asked, regions)
        except Exception as error:  # noqa: BLE001
            caller.failed(error)
            return None
        if mark is not None:
            call = mark(call)
        return begin(call, encode, caller)

    return handle


class _Asking:
    """Puts what a caller is told into the transport's words."""

    __slots__ = ("_asked", "_told")

    def __init__(self, asked: Context, told: Told) -> None:
        self._asked = asked
        self._told = told

    def delivered(self, delivery: Delivery) -> None:
        try:
            answer = Answer(delivery.body, answer_trailers(self._asked.trace.trace_id, delivery))
        except Exception as error:  # noqa: BLE001  # a trailer that is no text
            self.failed(error)
            return
        self._told.answer(answer)

    def failed(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            self._told.stopped()
            return
        asked = self._asked
        self._told.refuse(refusal(error, call_id=asked.call_id, trace_id=asked.trace.trace_id))
