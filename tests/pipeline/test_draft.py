"""What a record says of a call, field by field: it is built by position, so every field has a value of its own here."""

from __future__ import annotations

import msgspec
import pytest

from gateway.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidInput,
    LedgerUnavailable,
    Overloaded,
    PermissionDenied,
    Throttled,
    Unauthenticated,
)
from gateway.ledger.record import PHASES, Record
from gateway.pipeline.draft import Draft, ending, record_of
from gateway.policy.obligations import Limit
from gateway.types import (
    Action,
    Context,
    Credentials,
    Decision,
    ModelFacts,
    ModelRef,
    Principal,
    Reason,
    ServableId,
    Tensor,
    TraceContext,
)


def whole() -> Draft:
    """A draft with a different value in everything that is recorded."""
    context = Context(
        action=Action(group="inference", name="infer", service="S", method="ModelInfer"),
        trace=TraceContext(trace_id="t" * 32, span_id="s" * 16, parent_id="p" * 16, flags="01"),
        credentials=Credentials(),
        received_us=1_000,
        received_ns=1_000_000,
        size=77,
    )
    draft = Draft(context, None, ModelRef("m", "canary"))
    draft.principal = Principal(id="who", kind="service", tenant="ten", auth="jwt", credential="kid")
    draft.model = ModelFacts(id=ServableId("m", "4", "sha256:d"))
    draft.decision = Decision(
        id="d1",
        allow=True,
        servable=draft.model.id,
        reasons=(Reason("old", "warn"),),
        obligations=(Limit(max_batch=1),),
        revision="rev",
        digest="dig",
        engine="opa",
        effect="warned",
        cached_from="d0",
    )
    draft.outputs = (Tensor(name="y", datatype="UINT8", shape=(3,), data=b"abc"),)
    draft.rows, draft.batch_n, draft.batch_i = 3, 9, 5
    draft.authenticated_ns, draft.decided_ns, draft.queued_ns, draft.inferred_ns = (
        1_010_000,
        1_020_000,
        1_030_000,
        1_040_000,
    )
    draft.inputs_c, draft.outputs_c, draft.policy_c, draft.request_digest = "in", "out", "pol", "req"
    draft.route, draft.payload, draft.stage = "pinned", "full", "record"
    return draft


def record(draft: Draft, error: BaseException | None = None, *, relaxed: bool = True) -> Record:
    return record_of(draft, error, shard="gw.0", seq=6, boot="boot", runtime="rt", relaxed=relaxed, now_ns=1_050_000)


def test_every_field_holds_what_its_name_says() -> None:
    assert msgspec.structs.asdict(record(whole())) == {
        "v": 1, "kind": "call", "shard": "gw.0", "seq": 6, "boot": "boot", "t_us": 1_000, "dur_us": 50,
        "tenant": "ten", "principal": "who", "kind_p": "service", "purpose": "", "auth": "jwt", "cred": "kid",
        "method": "ModelInfer", "action": "inference:infer", "asked": "m:canary", "relaxed": True, "model": "m",
        "version": "4", "model_sha": "sha256:d", "manifest_sha": "", "route": "pinned", "rt": "rt", "batch_n": 9,
        "batch_i": 5, "allow": True, "effect": "warned", "decision_id": "d1", "reasons": ("old",),
        "obligations": ("limit",), "policy_rev": "rev", "policy_sha": "dig", "engine": "opa", "cached": True,
        "cached_from": "d0", "in_c": "in", "out_c": "out", "pol_c": "pol", "rows": 3, "in_b": 77, "out_b": 3,
        "payload": "full", "score_bin": -1, "quality": (), "status": "OK", "outcome": "answered", "stage": "record",
        "error": "", "ph": {"authenticate": 10, "decide": 20, "queue": 30, "infer": 40, "record": 50},
        "trace": "t" * 32, "span": "s" * 16, "parent": "p" * 16, "flags": "01", "req": "req", "re": (), "cut": False,
    }  # fmt: skip


def test_phases_come_in_the_one_order_and_only_those_that_were_reached() -> None:
    draft = whole()
    assert tuple(record(draft).ph) == PHASES
    draft.queued_ns = draft.inferred_ns = 0
    assert tuple(record(draft).ph) == ("authenticate", "decide", "record")
    assert record(draft).rt == ""


def test_what_was_not_reached_is_empty_and_never_invented() -> None:
    draft = Draft(whole().context, None, None)
    row = record(draft, Unauthenticated("no key"), relaxed=False)
    assert (row.tenant, row.kind_p, row.auth, row.model, row.engine, row.effect, row.decision_id) == ("",) * 7
    assert (row.outcome, row.error, row.status) == ("unauthenticated", "unauthenticated", "UNAUTHENTICATED")
    assert row.allow is False


def test_a_denial_without_a_decision_keeps_its_codes() -> None:
    draft = whole()
    draft.decision = None
    assert record(draft, PermissionDenied(("limit_exceeded",))).reasons == ("limit_exceeded",)


def test_an_unknown_model_is_named_by_what_was_asked_alone() -> None:
    draft = whole()
    draft.model = ModelFacts(id=ServableId("m", "", ""), known=False)
    assert (record(draft).model, record(draft).asked) == ("", "m:canary")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (PermissionDenied(("x",)), "denied"),
        (InvalidInput("x"), "refused"),
        (Throttled("x", 1), "refused"),
        (Overloaded("x", 1), "refused"),
        (DeadlineExceeded("x"), "expired"),
        (Cancelled("x"), "cancelled"),
        (LedgerUnavailable("x"), "failed"),
        (ZeroDivisionError("x"), "failed"),
    ],
)
def test_the_outcome_says_whose_it_was(error: BaseException, outcome: str) -> None:
    assert ending(error, None, 0)[1] == outcome
