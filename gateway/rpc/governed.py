"""How every RPC but prediction is served: parse, ask the gate, answer, say what the caller may quote."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import msgspec
from google.protobuf.message import DecodeError, Message

from gateway.errors import Unparsable
from gateway.pipeline.gate import AnswerWith
from gateway.policy.pdp import Facts
from gateway.rpc.context import Clocks, Trust, context
from gateway.rpc.status import answer_trailers, refusal
from gateway.transport.seam import Answer, Head, Unary
from gateway.types import Action, Context, Delivery, ModelRef, Permit

M = TypeVar("M", bound=Message)


class Gate(Protocol):
    """Authenticates, decides, enforces, answers and records one call."""

    async def run(
        self,
        context: Context,
        ref: ModelRef | None,
        answer: AnswerWith,
        *,
        resolve: bool = True,
        facts: Facts | None = None,
    ) -> Delivery: ...

    async def visible(self, context: Context, refs: Sequence[ModelRef]) -> frozenset[ModelRef]:
        """Those of ``refs`` that the caller may do ``context``'s action on."""
        ...


@dataclass(frozen=True, slots=True)
class Asked(Generic[M]):
    """What an answer is made of: the request, the permit for it, and the context it came in."""

    request: M
    permit: Permit
    context: Context


def parse(kind: type[M], body: bytes) -> M:
    """The message in ``body``. Raises: Unparsable."""
    try:
        return kind.FromString(body)
    except DecodeError:
        raise Unparsable(f"could not parse the {len(body)} bytes as {kind.DESCRIPTOR.full_name}") from None


@dataclass(frozen=True, slots=True)
class Governed:
    """Makes handlers whose answers pass the gate. ``allowed`` are the metadata names that policy may see, ``trust``
    says whose traces are continued."""

    gate: Gate
    clocks: Clocks
    allowed: frozenset[str] = frozenset()
    trust: Trust = "authenticated"

    def context(self, head: Head, action: Action, size: int = 0) -> Context:
        """The context of one call of ``action``."""
        return context(head, action, self.clocks, allowed=self.allowed, trust=self.trust, size=size)

    def unary(
        self,
        action: Action,
        kind: type[M],
        answer: Callable[[Asked[M]], Message | Awaitable[Message]],
        *,
        ref: Callable[[M], ModelRef | None] | None = None,
        facts: Callable[[M], Facts] | None = None,
        writes: Callable[[M], Action | None] | None = None,
        resolve: bool = True,
    ) -> Unary:
        """A handler for ``action``: ``answer`` runs only with a permit for the model that ``ref`` names.

        ``facts`` are what policy may know of the request beside the model. ``writes`` gives the action in place of
        ``action`` for requests that change something. ``resolve`` False: an unknown model is no error, the answer
        tells it.
        """

        async def handle(head: Head, body: bytes) -> Answer:
            asked = self.context(head, action, len(body))
            trace_id = asked.trace.trace_id
            try:
                request = parse(kind, body)
                if writes is not None and (other := writes(request)):
                    asked = msgspec.structs.replace(asked, action=other)

                async def answered(permit: Permit) -> bytes:
                    message = answer(Asked(request, permit, asked))
                    if not isinstance(message, Message):
                        message = await message
                    return message.SerializeToString()

                delivery = await self.gate.run(
                    asked,
                    ref(request) if ref is not None else None,
                    answered,
                    resolve=resolve,
                    facts=facts(request) if facts is not None else None,
                )
            except Exception as error:
                raise refusal(error, call_id=asked.call_id, trace_id=trace_id) from error
            return Answer(delivery.body, answer_trailers(trace_id, delivery))

        return handle

    def public(self, kind: type[M], answer: Callable[[M], Message]) -> Unary:
        """A handler that anybody may call: no identity, no decision, no record. For one bit of health only."""

        async def handle(head: Head, body: bytes) -> Answer:
            try:
                return Answer(answer(parse(kind, body)).SerializeToString())
            except Exception as error:
                raise refusal(error, call_id=head.method) from error

        return handle
