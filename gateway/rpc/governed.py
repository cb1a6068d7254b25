"""How every RPC but prediction is served: parse, ask the gate, answer, say what the caller may quote."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from gateway.errors import Unparsable
from gateway.pipeline.gate import AnswerWith
from gateway.rpc.context import Clocks, context
from gateway.rpc.status import ok_trailers, refusal
from gateway.transport.seam import Answer, Head, Unary
from gateway.types import Action, Context, Delivery, ModelRef, Permit

M = TypeVar("M", bound=Message)


class Gate(Protocol):
    """Authenticates, decides, enforces, answers and records one call."""

    async def run(
        self, context: Context, ref: ModelRef | None, answer: AnswerWith, *, resolve: bool = True
    ) -> Delivery: ...


def parse(kind: type[M], body: bytes) -> M:
    """The message in ``body``. Raises: Unparsable."""
    try:
        return kind.FromString(body)
    except DecodeError:
        raise Unparsable(f"could not parse the {len(body)} bytes as {kind.DESCRIPTOR.full_name}") from None


def nothing(_: Message) -> None:
    """The model reference of a request that names no model."""
    return


@dataclass(frozen=True, slots=True)
class Governed:
    """Makes handlers whose answers pass the gate. ``allowed`` are the metadata names that policy may see."""

    gate: Gate
    clocks: Clocks
    allowed: frozenset[str] = frozenset()

    def context(self, head: Head, action: Action, size: int) -> Context:
        """The context of one call of ``action``."""
        return context(head, action, self.clocks, allowed=self.allowed, size=size)

    def unary(
        self,
        action: Action,
        kind: type[M],
        answer: Callable[[M, Permit], Message | Awaitable[Message]],
        *,
        ref: Callable[[M], ModelRef | None] = nothing,
        resolve: bool = True,
    ) -> Unary:
        """A handler for ``action``: ``answer`` runs only with a permit for the model that ``ref`` names.

        ``resolve`` False: an unknown model is no error, the answer tells it.
        """

        async def handle(head: Head, body: bytes) -> Answer:
            asked = self.context(head, action, len(body))
            trace_id = asked.trace.trace_id
            try:
                request = parse(kind, body)

                async def answered(permit: Permit) -> bytes:
                    message = answer(request, permit)
                    if not isinstance(message, Message):
                        message = await message
                    return message.SerializeToString()

                reply = await self.gate.run(asked, ref(request), answered, resolve=resolve)
            except Exception as error:
                raise refusal(error, call_id=asked.call_id, trace_id=trace_id) from error
            return Answer(reply.body, ok_trailers(trace_id, reply.prediction_id, reply.decision_id))

        return handle
