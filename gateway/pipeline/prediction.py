"""The life of a prediction: each step needs the value that the one before it made, so the order cannot be wrong.

    admitted -> permitted -> valid -> ran -> recorded

Steps follow each other without waiting wherever nothing has to be waited for. What has to be is waited for by a task of
its own, by the run of this turn of the event loop, or by the ledger; each goes on with the next step. So most calls
need no task at all, and those of one turn take each step together, while its code is near.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from gateway.errors import DeadlineExceeded, GatewayError, LedgerUnavailable
from gateway.pipeline import waiting
from gateway.pipeline.admission import Admission
from gateway.pipeline.cohort import Cohort
from gateway.pipeline.enforcement import Enforcement
from gateway.pipeline.lender import Lease, Lender
from gateway.pipeline.masking import masked_names
from gateway.pipeline.obligations import Obligations
from gateway.pipeline.outputs import check_requested, select
from gateway.pipeline.recorder import Recorder
from gateway.policy.obligations import Duties
from gateway.serving.servable import Inference, Servable, ValidTensors
from gateway.types import Call, Delivery, Permit, Receipt, Reply

log = logging.getLogger(__name__)


class Caller(Protocol):
    """Waits for the end of a prediction, and hears of it once. Neither call may raise."""

    def delivered(self, delivery: Delivery) -> None:
        """The answer; its record is durable."""
        ...

    def failed(self, error: BaseException) -> None:
        """There is none. The record of ``error`` is durable, except for LedgerUnavailable (there is none) and
        CancelledError (not waited for)."""
        ...


class Pipeline:
    """What all predictions of one worker go through."""

    __slots__ = ("_cohort", "admission", "clock_ns", "enforcement", "models", "obligations", "recorder")

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
        self.admission = admission
        self.enforcement = enforcement
        self.models = models
        self.obligations = obligations
        self.recorder = recorder
        self.clock_ns = clock_ns
        self._cohort = Cohort()

    def begin(self, call: Call, encode: Callable[[Reply], bytes], caller: Caller) -> Prediction:
        """Admit the prediction for ``call``, and begin it: together with all that come in this turn of the loop, or at
        once when nobody else is under way. ``caller`` hears the end, perhaps before this returns."""
        alone = not self.admission.inflight
        prediction = Prediction(self, call, encode, caller)
        if prediction.admit():
            if alone:
                prediction.begin()
            else:
                self._cohort.add(prediction)
        return prediction


class Prediction:
    """One call under way. For the event loop's thread.

    Whatever happens after ``admit``, exactly one record is written, and the caller hears of the end only when that
    record is durable. It is the ``Rider`` of its run and the ``Waiter`` of its record.
    """

    __slots__ = (
        "_admitted", "_body", "_call", "_caller", "_deadline_ns", "_draft", "_duties", "_encode", "_error", "_headers",
        "_lease", "_left", "_permit", "_pipeline", "_servable", "_waits", "gone",
    )  # fmt: skip

    # What the steps make; none is there before its step.
    _permit: Permit
    _duties: Duties
    _servable: Servable
    _deadline_ns: int | None
    _headers: tuple[tuple[str, str], ...]
    _body: bytes

    def __init__(self, pipeline: Pipeline, call: Call, encode: Callable[[Reply], bytes], caller: Caller) -> None:
        self._pipeline = pipeline
        self._call = call
        self._encode = encode
        self._caller = caller
        self._draft = pipeline.recorder.begin(call.context, call, call.model)
        self._admitted = False
        self._left = False
        self._lease: Lease | None = None
        self._waits: asyncio.Future[Any] | None = None
        self._error: GatewayError | None = None
        self.gone = False  # the caller was told the end, or nobody waits for it

    def admit(self) -> bool:
        """Take a place; False when there was none, which is its end."""
        try:
            self._pipeline.admission.enter(self._call.context)
            self._admitted = True
        except BaseException as error:  # noqa: BLE001
            self._fail(error)
        return self._admitted

    def begin(self) -> None:
        """Go as far as it goes without waiting. The caller may hear of the end before this returns."""
        try:
            permitted = self._pipeline.enforcement.permit_now(self._draft)
            if permitted is None:
                self._await(waiting.permit(self._pipeline.enforcement, self._draft), self._permitted)
            else:
                self._permitted(permitted)
        except BaseException as error:  # noqa: BLE001
            self._fail(error)

    def cancel(self) -> None:
        """Nobody waits any more: stop what can be stopped. The caller hears CancelledError, perhaps later."""
        if self._waits is not None:
            self._left = True  # what was waited for may have come already, and not been taken up
            self._waits.cancel()
        elif self._error is not None or self._draft.stage == "record":  # what the record says is true, and it stays
            self._tell(asyncio.CancelledError())
        elif not self.gone:
            self._end(asyncio.CancelledError())

    # the steps

    def _permitted(self, permitted: tuple[Permit, Duties]) -> None:
        permit, duties = self._permit, self._duties = permitted
        call, draft = self._call, self._draft
        draft.keep = duties.payload or "digest"
        lease = self._pipeline.models.lease(permit)
        servable = self._servable = lease.take()
        self._lease = lease
        draft.stage = "validate"
        if call.defect is not None:
            raise call.defect
        signature = servable.signature
        if signature.heavy(call.inputs):  # what would hold up the loop is proved in a thread
            self._await(asyncio.to_thread(signature.validate, call.inputs), self._valid)
        else:
            self._valid(signature.validate(call.inputs))

    def _valid(self, inputs: ValidTensors) -> None:
        permit, duties, servable = self._permit, self._duties, self._servable
        call, draft, signature = self._call, self._draft, servable.signature
        rows = draft.rows = signature.rows(inputs)
        if call.outputs:
            check_requested(call.outputs, signature, servable.id)
        draft.stage = "oblige"
        deadline_ns = self._deadline_ns = self._pipeline.obligations.before(
            call,
            permit.decision,
            duties,
            signature,
            rows,
            now_ns=self._pipeline.clock_ns(),
            principal=draft.principal,
            model=draft.model,
        )
        draft.stage = "infer"
        if not servable.join(self, inputs, rows, deadline_ns):
            self._await(servable.infer(inputs, deadline_ns=deadline_ns, parameters=call.parameters), self._inferred)

    def ran(self, inference: Inference) -> None:
        """See ``Rider``."""
        try:
            self._inferred(inference)
        except BaseException as error:  # noqa: BLE001
            self._fail(error)

    def failed(self, error: Exception) -> None:
        """See ``Rider``."""
        self._end(error)

    def _inferred(self, run: Inference) -> None:
        permit, duties, servable = self._permit, self._duties, self._servable
        call, draft, pipeline = self._call, self._draft, self._pipeline
        self._give_back()
        draft.inferred_ns = pipeline.clock_ns()
        draft.queued_ns = run.started_ns
        draft.batch_n, draft.batch_i = run.batch_n, run.batch_i
        if duties.deadline_ms is not None and self._deadline_ns is not None and draft.inferred_ns >= self._deadline_ns:
            raise DeadlineExceeded("the deadline passed while the model ran")
        draft.stage = "mask"
        outputs = pipeline.obligations.after(run.outputs, permit.decision, duties, call.outputs)
        if call.outputs:
            specs, batching = servable.signature.outputs, servable.facts.batching
            outputs = select(outputs, call.outputs, batching=batching, specs=specs)
        draft.outputs = outputs
        self._headers = duties.headers
        if duties.mask:
            self._headers += masked_names(outputs, duties.mask)
        draft.stage = "encode"
        self._body = self._encode(Reply(call, servable.id, outputs))
        try:
            pipeline.recorder.answer(draft, self)
        except BaseException as error:
            if self.gone:  # in relaxed mode the caller hears before this returns: it was he who raised
                log.exception("pipeline.caller_failed")
            else:
                self._tell(error)  # no record, no answer; and no second try

    def recorded(self, receipt: Receipt) -> None:
        """See ``Waiter``."""
        error = self._error
        if error is not None:
            error.prediction_id = receipt.prediction_id
            self._tell(error)
        elif self._over():
            decision_id = self._permit.decision.id
            self._caller.delivered(Delivery(self._body, receipt.prediction_id, decision_id, self._headers))

    def unrecorded(self, error: LedgerUnavailable) -> None:
        """See ``Waiter``."""
        self._pipeline.recorder.lose()
        if self._error is not None:
            error.__cause__ = self._error
        self._tell(error)

    # what is not a step

    def _await(self, awaitable: Awaitable[Any], then: Callable[[Any], None]) -> None:
        """Go on with ``then`` when ``awaitable`` has come."""

        def come(waits: asyncio.Future[Any]) -> None:
            self._waits = None
            error = asyncio.CancelledError() if waits.cancelled() else waits.exception()
            if self._left:
                error = asyncio.CancelledError()
            if error is not None:  # and is not raised here: its traceback would know this frame, which knows it
                self._end(error)
                return
            try:
                then(waits.result())
            except BaseException as wrong:  # noqa: BLE001
                self._fail(wrong)

        self._waits = asyncio.ensure_future(awaitable)
        self._waits.add_done_callback(come)

    def _fail(self, error: BaseException) -> None:
        """A step raised ``error``: which need be no ``Exception``, since what Rust panics with is none."""
        self._end(error)
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error

    def _end(self, error: BaseException) -> None:
        """Record ``error``, and then say it."""
        self._give_back()
        try:
            seen, waits = self._pipeline.recorder.end(self._draft, error, self)
        except BaseException as wrong:  # noqa: BLE001  # it cannot be recorded
            self._tell(wrong)
            return
        if waits and isinstance(seen, GatewayError):
            self._error = seen
        else:
            self._tell(seen)

    def _tell(self, error: BaseException) -> None:
        self._error = None  # which knows, by its traceback, this object: a circle
        if self._over():
            self._caller.failed(error)

    def _over(self) -> bool:
        """Leave; False when that was done before. Not before the record is durable: calls that wait for the disk are in
        flight too, and when too many do, the next one is refused before its work, not by a full ledger after it."""
        if self.gone:
            return False
        self.gone = True
        if self._admitted:
            self._pipeline.admission.leave(self._call.context)
        return True

    def _give_back(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.give_back()
