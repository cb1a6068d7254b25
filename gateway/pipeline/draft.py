"""What is known of a call so far, and the record it becomes."""

from __future__ import annotations

import asyncio
import operator

from gateway.errors import (
    CallerError,
    Cancelled,
    Code,
    DeadlineExceeded,
    GatewayError,
    Overloaded,
    PermissionDenied,
    PolicyError,
    Unauthenticated,
)
from gateway.ledger.record import SCHEMA, Record
from gateway.types import Call, Context, Decision, ModelFacts, ModelRef, Obligation, Principal, ServableId, Tensor

_DATA = operator.attrgetter("data")
_NOBODY = Principal(id="", kind="anonymous", tenant="")
_UNDECIDED = Decision(id="", allow=False, servable=None, effect="")
_NO_MODEL = ServableId("", "", "")
"""What stands in the record for what a call did not reach."""


class Draft:
    """The one mutable object of a request, owned by its task; everything else that flows is frozen.

    ``stage`` names the step under way, so that an error is recorded with where it happened. Times are
    monotonic nanoseconds, 0 while a phase was not reached.
    """

    __slots__ = (
        "authenticated_ns", "batch_i", "batch_n", "call", "context", "decided_ns", "decision", "inferred_ns",
        "inputs_c", "keep", "model", "outputs", "outputs_c", "payload", "policy_c", "principal", "queued_ns", "ref",
        "request_digest", "route", "rows", "stage",
    )  # fmt: skip

    def __init__(self, context: Context, call: Call | None, ref: ModelRef | None) -> None:
        self.context = context
        self.call = call
        self.ref = ref
        self.stage = "admit"
        self.principal: Principal | None = None
        self.model: ModelFacts | None = None
        self.decision: Decision | None = None
        self.outputs: tuple[Tensor, ...] = ()
        self.rows = 0
        self.batch_n = 0
        self.batch_i = 0
        self.authenticated_ns = 0
        self.decided_ns = 0
        self.queued_ns = 0
        self.inferred_ns = 0
        self.inputs_c = ""
        self.outputs_c = ""
        self.policy_c = ""
        self.request_digest = ""
        self.route = ""
        self.keep = "digest"  # what policy wants kept: full, digest or none
        self.payload = "none"  # what is

    def phases(self, now_ns: int) -> dict[str, int]:
        """Microseconds from receipt to the end of each phase reached, in the order of PHASES.

        The queue ends when the model starts. "record" ends when the record is sealed: the commit cannot
        stand in its own record.
        """
        start = self.context.received_ns
        if self.inferred_ns:  # which comes after all the others
            return {
                "authenticate": (self.authenticated_ns - start) // 1000,
                "decide": (self.decided_ns - start) // 1000,
                "queue": (self.queued_ns - start) // 1000,
                "infer": (self.inferred_ns - start) // 1000,
                "record": (now_ns - start) // 1000,
            }
        ph: dict[str, int] = {}
        if self.authenticated_ns:
            ph["authenticate"] = (self.authenticated_ns - start) // 1000
        if self.decided_ns:
            ph["decide"] = (self.decided_ns - start) // 1000
        if self.queued_ns:
            ph["queue"] = (self.queued_ns - start) // 1000
        ph["record"] = (now_ns - start) // 1000
        return ph


def record_of(
    draft: Draft,
    error: BaseException | None,
    *,
    shard: str,
    seq: int,
    boot: str,
    runtime: str,
    relaxed: bool,
    now_ns: int,
) -> Record:
    """The record of ``draft`` as it ended: with an answer (``error`` None) or with ``error``."""
    context, trace, start_ns = draft.context, draft.context.trace, draft.context.received_ns
    principal = draft.principal or _NOBODY
    decision = draft.decision or _UNDECIDED
    servable = draft.model.id if draft.model is not None and draft.model.known else _NO_MODEL
    codes = tuple([r.code for r in decision.reasons]) if decision.reasons else ()
    status, outcome, reason = "OK", "answered", ""
    if error is not None:
        status, outcome = ending(error, context.deadline_ns, now_ns)
        reason = error.reason if isinstance(error, GatewayError) else "internal"
        if isinstance(error, PermissionDenied) and not codes:
            codes = error.codes
        elif isinstance(error, Unauthenticated):
            codes = (error.kind,)
    # By position, in the order of Record's fields: by keyword it takes ten times as long. A test names them.
    return Record(
        SCHEMA,
        "call",
        shard,
        seq,
        boot,
        context.received_us,
        (now_ns - start_ns) // 1000,  # dur_us
        principal.tenant,
        principal.id,
        principal.kind if principal is not _NOBODY else "",
        "",  # purpose
        principal.auth if principal is not _NOBODY else "",
        principal.credential,
        context.action.method,
        f"{context.action.group}:{context.action.name}",
        str(draft.ref) if draft.ref is not None else "",  # asked
        relaxed,
        servable.name,
        servable.version,
        servable.digest,
        "",  # manifest_sha
        draft.route,
        runtime if draft.queued_ns else "",
        draft.batch_n,
        draft.batch_i,
        decision.allow,
        decision.effect,
        decision.id,
        codes,
        tuple([_kind(o) for o in decision.obligations]) if decision.obligations else (),
        decision.revision,
        decision.digest,
        decision.engine if decision is not _UNDECIDED else "",
        decision.cached_from != "",
        decision.cached_from,
        draft.inputs_c,
        draft.outputs_c,
        draft.policy_c,
        draft.rows,
        context.size,
        sum(map(len, map(_DATA, draft.outputs))),
        draft.payload,
        -1,  # score_bin
        (),  # quality
        status,
        outcome,
        draft.stage,
        reason,
        draft.phases(now_ns),
        trace.trace_id,
        trace.span_id,
        trace.parent_id,
        trace.flags,
        draft.request_digest,
    )


def _kind(obligation: Obligation) -> str:
    return str(obligation.__struct_config__.tag)


def ending(error: BaseException, deadline_ns: int | None, now_ns: int) -> tuple[str, str]:
    """Status name and outcome of a call that ended with ``error``.

    A cancelled task is an expired call when its deadline has passed, and a caller who hung up otherwise.
    """
    if isinstance(error, asyncio.CancelledError):
        if deadline_ns is not None and now_ns >= deadline_ns:
            return Code.DEADLINE_EXCEEDED.name, "expired"
        return Code.CANCELLED.name, "cancelled"
    if not isinstance(error, GatewayError):
        return Code.INTERNAL.name, "failed"
    if isinstance(error, PermissionDenied):
        return error.code.name, "denied"
    if isinstance(error, Unauthenticated):
        return error.code.name, "unauthenticated"
    if isinstance(error, DeadlineExceeded):
        return error.code.name, "expired"
    if isinstance(error, Cancelled):
        return error.code.name, "cancelled"
    if isinstance(error, (CallerError, PolicyError, Overloaded)):
        return error.code.name, "refused"
    return error.code.name, "failed"
