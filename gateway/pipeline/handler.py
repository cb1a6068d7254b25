"""The life of a prediction: each line needs the value of a line above, so the order cannot be wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from gateway.errors import DeadlineExceeded
from gateway.pipeline.admission import Admission
from gateway.pipeline.draft import Draft
from gateway.pipeline.enforcement import Enforcement
from gateway.pipeline.masking import masked_names
from gateway.pipeline.obligations import Obligations
from gateway.pipeline.outputs import check_requested, select
from gateway.pipeline.recorder import Recorder
from gateway.serving.servable import Servable
from gateway.types import Call, Delivery, Permit, Reply, ServableId


class Lender(Protocol):
    """Lends the servable that a permit names."""

    def lease(self, permit: Permit) -> AbstractContextManager[Servable]:
        """While the context is open the servable stays loaded. Raises: ModelUnavailable when it is gone."""
        ...


class InferenceHandler:
    """Answers predictions. One per worker; concurrent calls on one event loop.

    Whatever happens after ``__call__`` has begun, exactly one record is written, and an answer leaves only when
    that record is durable.
    """

    def __init__(
        self,
        *,
        admission: Admission,
        enforcement: Enforcement,
        models: Lender,
        obligations: Obligations,
        recorder: Recorder,
        clock_ns: Callable[[], int],
    ) -> None:
        self._admission = admission
        self._enforcement = enforcement
        self._models = models
        self._obligations = obligations
        self._recorder = recorder
        self._clock_ns = clock_ns

    async def __call__(self, call: Call, encode: Callable[[Reply], bytes]) -> Delivery:
        """The prediction for ``call``, permitted, run, encoded and recorded.

        Raises: GatewayError of any kind, CancelledError; the record of it is durable, except for
        LedgerUnavailable (there is none) and CancelledError (not waited for).
        """
        draft = self._recorder.begin(call.context, call, call.model)
        admitted = False
        try:
            try:
                self._admission.enter(call.context)
                admitted = True
                served, permit, headers = await self._predict(call, draft)
                draft.stage = "encode"
                body = encode(Reply(call=call, servable=served, outputs=draft.outputs))
            except BaseException as error:
                seen = await self._recorder.ended(draft, error)
                if seen is error:
                    raise
                raise seen from error
            receipt = await self._recorder.answered(draft)
        finally:
            # Not before the record is durable: calls that wait for the disk are in flight too, and when too many
            # do, the next one is refused before its work, not by a full ledger after it.
            if admitted:
                self._admission.leave(call.context)
        return Delivery(body=body, prediction_id=receipt.prediction_id, decision_id=permit.decision.id, headers=headers)

    async def _predict(self, call: Call, draft: Draft) -> tuple[ServableId, Permit, tuple[tuple[str, str], ...]]:
        permit, duties = await self._enforcement.permit(draft)
        draft.keep = duties.payload or "digest"
        with self._models.lease(permit) as servable:
            draft.stage = "validate"
            if call.defect is not None:
                raise call.defect
            signature = servable.signature
            if signature.heavy(call.inputs):  # what would hold up the loop is proved in a thread
                inputs = await asyncio.to_thread(signature.validate, call.inputs)
            else:
                inputs = signature.validate(call.inputs)
            rows = draft.rows = servable.signature.rows(inputs)
            check_requested(call.outputs, servable.signature, servable.id)
            draft.stage = "oblige"
            deadline_ns = self._obligations.before(
                call,
                permit.decision,
                duties,
                servable.signature,
                rows,
                now_ns=self._clock_ns(),
                principal=draft.principal,
                model=draft.model,
            )
            draft.stage = "infer"
            run = await servable.infer(inputs, deadline_ns=deadline_ns, parameters=call.parameters)
        draft.inferred_ns = self._clock_ns()
        draft.queued_ns = run.started_ns
        draft.batch_n, draft.batch_i = run.batch_n, run.batch_i
        if duties.deadline_ms is not None and deadline_ns is not None and draft.inferred_ns >= deadline_ns:
            raise DeadlineExceeded("the deadline passed while the model ran")
        draft.stage = "mask"
        masked = self._obligations.after(run.outputs, permit.decision, duties, call.outputs)
        draft.outputs = select(masked, call.outputs, batching=servable.facts.batching, specs=servable.signature.outputs)
        headers = duties.headers
        if duties.mask:
            headers += masked_names(draft.outputs, duties.mask)
        return servable.id, permit, headers
