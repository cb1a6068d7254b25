"""The enforcement point: who is asking, about what exactly, and is it allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway.errors import ModelNotFound, ModelUnavailable, PermissionDenied
from gateway.identity.authenticator import Authenticator
from gateway.pipeline.draft import Draft
from gateway.policy.obligations import Duties, merge
from gateway.policy.pdp import DecisionPoint, Query, enforce
from gateway.types import Decision, ModelFacts, ModelRef, Permit, Principal, ServableId


class Resolver(Protocol):
    """Finds the exact servable that a reference names."""

    def resolve(self, ref: ModelRef) -> ModelFacts:
        """Raises: ModelNotFound, ModelUnavailable."""
        ...


class Enforcement:
    """Takes a draft from "somebody asks something" to a permit, or raises. Safe for concurrent calls.

    ``hide_existence``: a model that does not exist is put to the policy like any other (``known`` false), and
    only who would have been allowed learns that it is not there.
    """

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        models: Resolver,
        decisions: DecisionPoint,
        clock_ns: Callable[[], int],
        hide_existence: bool = False,
    ) -> None:
        self.authenticator = authenticator
        self.decisions = decisions
        self._models = models
        self._clock_ns = clock_ns
        self._hide_existence = hide_existence

    def permit_now(self, draft: Draft) -> tuple[Permit, Duties] | None:
        """The permit for the prediction of ``draft`` and the duties bound to it; fills principal, model and decision.

        None when identity or decision have to be waited for: see ``waiting.permit``.

        Raises: Unauthenticated, ModelNotFound, ModelUnavailable, PermissionDenied, PolicyUnavailable.
        """
        draft.stage = "authenticate"
        principal = self.authenticator.authenticate_now(draft.context.credentials)
        if principal is None:
            return None
        query, absent = self.query(draft, principal)
        decision = self.decisions.decide_now(query)
        return None if decision is None else self.permit_of(draft, decision, absent)

    def query(
        self, draft: Draft, principal: Principal, *, resolve: bool = True
    ) -> tuple[Query, ModelNotFound | ModelUnavailable | None]:
        """What policy is asked about the call of ``principal``; and why its model is not there, where that is no error
        yet, with ``hide_existence`` or without ``resolve``. Fills principal and model.

        Raises: ModelNotFound, ModelUnavailable.
        """
        draft.principal = principal
        draft.authenticated_ns = self._clock_ns()
        draft.stage = "resolve"
        absent = self._resolve(draft, tolerant=self._hide_existence or not resolve)
        draft.stage = "decide"
        ref, call = draft.ref, draft.call
        query = Query(  # by position, in the order of its fields: by keyword it takes four times as long
            principal,
            draft.context,
            draft.model,
            ref.name if ref is not None else "",
            ref.version if ref is not None else "",
            call,
            call.stream_seq if call is not None else 0,
        )
        return query, absent

    def permit_of(
        self, draft: Draft, decision: Decision, absent: ModelNotFound | ModelUnavailable | None
    ) -> tuple[Permit, Duties]:
        """The permit that ``decision`` gives, unless the model is ``absent``; fills decision and, by a route, model.

        Raises: PermissionDenied, ``absent``.
        """
        draft.decision = decision
        draft.decided_ns = self._clock_ns()
        draft.stage = "enforce"
        duties = merge(decision.obligations) if decision.permits else Duties()
        if duties.route:
            decision = self._reroute(draft, decision, duties.route)
        permit = enforce(decision)
        if absent is not None:
            raise absent
        return permit, duties

    def _resolve(self, draft: Draft, *, tolerant: bool) -> ModelNotFound | ModelUnavailable | None:
        if draft.ref is None:
            return None
        try:
            draft.model = self._models.resolve(draft.ref)
        except (ModelNotFound, ModelUnavailable) as error:
            if not tolerant:
                raise
            draft.model = ModelFacts(id=ServableId(draft.ref.name, "", ""), known=False)
            return error
        return None

    def _reroute(self, draft: Draft, decision: Decision, version: str) -> Decision:
        """``decision`` about the version that a ``route`` obligation names; no fallback if it is not ready."""
        model = draft.model
        if model is None or not model.known:
            raise PermissionDenied(("route_unavailable",), decision.id)
        try:
            draft.model = self._models.resolve(ModelRef(model.id.name, version))
        except (ModelNotFound, ModelUnavailable) as error:
            raise PermissionDenied(("route_unavailable",), decision.id) from error
        draft.route = "pinned"
        draft.decision = msgspec.structs.replace(decision, servable=draft.model.id)
        return draft.decision
