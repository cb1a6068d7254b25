"""Every call that is not a prediction: authenticated, decided, answered and recorded like one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from gateway.errors import DeadlineExceeded
from gateway.pipeline import waiting
from gateway.pipeline.admission import Admission
from gateway.pipeline.enforcement import Enforcement
from gateway.pipeline.obligations import Obligations
from gateway.pipeline.recorder import Recorder
from gateway.policy.pdp import Facts
from gateway.types import Context, Delivery, ModelRef, Permit

AnswerWith: TypeAlias = Callable[[Permit], bytes | Awaitable[bytes]]


class Gate:
    """Runs what a permit allows. One per worker; concurrent calls on one event loop.

    Answers of the ``health`` group are not recorded (a probe a second would bury the predictions); denials and
    failures of every group are. ``resolve`` False leaves an unknown model to the answer, for methods such as
    ModelReady that answer "no" instead of failing.
    """

    def __init__(
        self, *, admission: Admission, enforcement: Enforcement, obligations: Obligations, recorder: Recorder
    ) -> None:
        self._admission = admission
        self._enforcement = enforcement
        self._obligations = obligations
        self._recorder = recorder

    async def run(
        self,
        context: Context,
        ref: ModelRef | None,
        answer: AnswerWith,
        *,
        resolve: bool = True,
        facts: Facts | None = None,
    ) -> Delivery:
        """Ask the policy about ``context``'s action on ``ref``; if it allows, call ``answer`` and record.

        ``facts`` are what the policy may know of the request beside the model.

        Raises: as ``InferenceHandler.__call__``.
        """
        draft = self._recorder.begin(context, None, ref)
        try:
            with self._admission.slot(context):
                permit, duties = await waiting.permit(self._enforcement, draft, resolve=resolve, facts=facts)
                draft.stage = "oblige"
                self._obligations.before_other(
                    context, permit.decision, duties, principal=draft.principal, model=draft.model
                )
                draft.stage = "answer"
                body = answer(permit)
                if inspect.isawaitable(body):
                    body = await _within(body, duties.deadline_ms)
        except BaseException as error:
            seen = await waiting.ended(self._recorder, draft, error)
            if seen is error:
                raise
            raise seen from error
        prediction_id = ""
        if context.action.group == "health":
            self._recorder.forget(draft)
        else:
            prediction_id = (await waiting.answered(self._recorder, draft)).prediction_id
        return Delivery(body=body, prediction_id=prediction_id, decision_id=permit.decision.id, headers=duties.headers)

    async def visible(self, context: Context, refs: Sequence[ModelRef]) -> frozenset[ModelRef]:
        """Those of ``refs`` that the caller may do ``context``'s action on: for answers that list models.

        Not recorded: the call that lists them is. Raises: Unauthenticated, PolicyUnavailable.
        """
        return await waiting.visible(self._enforcement, context, refs)


async def _within(body: Awaitable[bytes], deadline_ms: int | None) -> bytes:
    """``body``, if it comes before policy's deadline; the caller's own is the transport's to keep."""
    if deadline_ms is None:
        return await body
    try:
        async with asyncio.timeout(deadline_ms / 1000):
            return await body
    except TimeoutError as error:
        raise DeadlineExceeded(f"policy allows {deadline_ms} ms for this call, and they passed") from error
