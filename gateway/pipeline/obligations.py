"""Obligations applied: what an allow is bound to holds, or the call ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.errors import DeadlineExceeded, PermissionDenied
from gateway.pipeline.limits import request_defect, response_defect
from gateway.pipeline.masking import mask_defect, masked
from gateway.pipeline.requirements import unmet
from gateway.policy.obligations import Duties, Quota, RateLimit, merge
from gateway.serving.spec import TensorSpec
from gateway.types import Call, Context, Decision, ModelFacts, OutputRequest, Principal, Tensor


class Taking(Protocol):
    """Counts what calls use up."""

    def take(self, rate_limits: Sequence[RateLimit], quotas: Sequence[Quota], rows: int, decision_id: str = "") -> None:
        """Take one call out of all of them or out of none. Raises: Throttled, PermissionDenied, Overloaded."""
        ...


class Outputs(Protocol):
    """What is asked of a model's signature here."""

    @property
    def outputs(self) -> Sequence[TensorSpec]: ...


class Obligations:
    """Applies the duties of a decision around the run, in the order that policy promises:

    requirements, (route: before the lease), limits, deadline, masks, then quotas and rates, so that a call
    refused for another reason uses nothing up; after the run masks and the size of the answer. A duty that
    cannot be kept is a denial with its own code. One per worker, for the event loop's thread.
    """

    def __init__(self, *, counters: Taking, clock_s: Callable[[], float], mask_key: bytes) -> None:
        self._counters = counters
        self._clock_s = clock_s
        self._mask_key = mask_key
        # ``merge`` remembers, so that a decision without obligations has this very object: no duties, no cost.
        self._nothing = merge(())

    def before(
        self,
        call: Call,
        decision: Decision,
        duties: Duties,
        signature: Outputs,
        rows: int,
        *,
        now_ns: int,
        principal: Principal | None = None,
        model: ModelFacts | None = None,
    ) -> int | None:
        """Hold ``duties`` against a prediction about to run; the deadline it has, None for none.

        ``rows`` is its batch, ``now_ns`` the monotonic time. ``principal`` and ``model`` are facts for ``require``:
        one that is not given proves nothing.

        Raises: PermissionDenied with code ``requirement_unmet``, ``limit_exceeded`` or ``mask_impossible``;
        DeadlineExceeded; Throttled; Overloaded when rates cannot be counted.
        """
        if duties is self._nothing:
            return _in_time(call.context.deadline_ns, now_ns)
        self._require(call.context, decision, duties, principal, model)
        if duties.limit is not None and (defect := request_defect(duties.limit, call, rows)):
            raise PermissionDenied(("limit_exceeded",), decision.id, defect)
        deadline_ns = _in_time(_deadline_ns(call.context, duties), now_ns)
        if duties.mask and (defect := mask_defect(duties.mask, signature.outputs, call.outputs)):
            raise PermissionDenied(("mask_impossible",), decision.id, defect)
        self._take(decision, duties, rows)
        return deadline_ns

    def before_other(
        self,
        context: Context,
        decision: Decision,
        duties: Duties,
        *,
        principal: Principal | None = None,
        model: ModelFacts | None = None,
    ) -> int | None:
        """As ``before``, for a call that is no prediction: it has no batch to bound and no outputs to mask.

        Its bytes, requirements, deadline, rates and quotas count like any other's; it costs one row.
        """
        if duties is self._nothing:
            return context.deadline_ns
        self._require(context, decision, duties, principal, model)
        most = duties.limit.max_bytes if duties.limit is not None else None
        if most is not None and context.size > most:
            detail = f"the request has {context.size} bytes, at most {most} are allowed"
            raise PermissionDenied(("limit_exceeded",), decision.id, detail)
        self._take(decision, duties, 1)
        return _deadline_ns(context, duties)

    def after(
        self,
        outputs: tuple[Tensor, ...],
        decision: Decision,
        duties: Duties,
        requested: Sequence[OutputRequest] = (),
    ) -> tuple[Tensor, ...]:
        """``outputs`` as they may leave: masked, and no more than ``max_response_bytes`` of those ``requested``.

        Raises: PermissionDenied with code ``mask_impossible`` or ``limit_exceeded``.
        """
        if duties is self._nothing:
            return outputs
        if duties.mask:
            try:
                outputs = masked(outputs, duties.mask, self._mask_key)
            except ValueError as error:
                raise PermissionDenied(("mask_impossible",), decision.id) from error
        if duties.limit is not None:
            wanted = {r.name for r in requested}
            leaving = [t for t in outputs if t.name in wanted] if wanted else outputs
            if defect := response_defect(duties.limit, leaving):
                raise PermissionDenied(("limit_exceeded",), decision.id, defect)
        return outputs

    def _require(
        self,
        context: Context,
        decision: Decision,
        duties: Duties,
        principal: Principal | None,
        model: ModelFacts | None,
    ) -> None:
        if not duties.require:
            return
        if defect := unmet(duties.require, context.credentials, principal, model, int(self._clock_s())):
            raise PermissionDenied(("requirement_unmet",), decision.id, defect)

    def _take(self, decision: Decision, duties: Duties, rows: int) -> None:
        if duties.rate_limits or duties.quotas:
            self._counters.take(duties.rate_limits, duties.quotas, rows, decision.id)


def _deadline_ns(context: Context, duties: Duties) -> int | None:
    """The caller's deadline, shortened by the policy's."""
    if duties.deadline_ms is None:
        return context.deadline_ns
    ours = context.received_ns + duties.deadline_ms * 1_000_000
    return ours if context.deadline_ns is None else min(ours, context.deadline_ns)


def _in_time(deadline_ns: int | None, now_ns: int) -> int | None:
    if deadline_ns is not None and now_ns >= deadline_ns:
        raise DeadlineExceeded("the deadline passed before the model could run")
    return deadline_ns
