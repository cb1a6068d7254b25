"""The steps of a call, for a task that waits: for an identity, for a decision, for a record."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import GatewayError, LedgerUnavailable
from gateway.ledger.ledger import Awaited
from gateway.pipeline.draft import Draft
from gateway.pipeline.enforcement import Enforcement
from gateway.pipeline.recorder import Recorder
from gateway.policy.obligations import Duties
from gateway.policy.pdp import Facts, asking
from gateway.types import Context, ModelRef, Permit, Receipt


async def permit(
    enforcement: Enforcement, draft: Draft, *, resolve: bool = True, facts: Facts | None = None
) -> tuple[Permit, Duties]:
    """The permit for ``draft``'s call and the duties bound to it; fills principal, model and decision.

    ``resolve`` False: a model that is not there is no error here, the permit then names no servable. ``facts`` are what
    policy may know of the request beside the model.

    Raises: Unauthenticated, ModelNotFound, ModelUnavailable, PermissionDenied, PolicyUnavailable.
    """
    draft.stage = "authenticate"
    principal = await enforcement.authenticator.authenticate(draft.context.credentials)
    query, absent = enforcement.query(draft, principal, resolve=resolve)
    if facts is not None:
        query = asking(query, facts)
    return enforcement.permit_of(draft, await enforcement.decisions.decide(query), absent if resolve else None)


async def visible(enforcement: Enforcement, context: Context, refs: Sequence[ModelRef]) -> frozenset[ModelRef]:
    """Those of ``refs`` that the policy allows ``context``'s action on. Raises: as ``permit``, but no denial."""
    principal = await enforcement.authenticator.authenticate(context.credentials)
    seen = []
    for ref in refs:
        query, _ = enforcement.query(Draft(context, None, ref), principal, resolve=False)
        if (await enforcement.decisions.decide(query)).permits:
            seen.append(ref)
    return frozenset(seen)


async def answered(recorder: Recorder, draft: Draft) -> Receipt:
    """Record that ``draft`` was answered and return its receipt. Raises: LedgerUnavailable, and there is no answer."""
    durable = Awaited()
    recorder.answer(draft, durable)
    return await _durable(recorder, durable)


async def ended(recorder: Recorder, draft: Draft, error: BaseException) -> BaseException:
    """Record that ``draft`` ended with ``error``; return what the caller shall see.

    Raises: LedgerUnavailable when the record of anything but a cancelled call cannot be made durable.
    """
    durable = Awaited()
    seen, waits = recorder.end(draft, error, durable)
    if waits and isinstance(seen, GatewayError):
        seen.prediction_id = (await _durable(recorder, durable)).prediction_id
    return seen


async def _durable(recorder: Recorder, durable: Awaited) -> Receipt:
    try:
        return await durable
    except LedgerUnavailable:
        recorder.lose()
        raise
