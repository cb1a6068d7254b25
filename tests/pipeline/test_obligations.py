"""Obligations around a run: every one holds, in the promised order, and costs nothing where there is none."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from gateway.errors import DeadlineExceeded, GatewayError, PermissionDenied, Throttled
from gateway.pipeline.obligations import Obligations
from gateway.policy.obligations import (
    Deadline,
    Limit,
    MaskOutputs,
    Quota,
    RateLimit,
    Require,
    merge,
)
from gateway.serving.spec import TensorSpec
from gateway.types import (
    Action,
    Call,
    Context,
    Credentials,
    Decision,
    ModelFacts,
    ModelRef,
    Obligation,
    OutputRequest,
    Principal,
    ServableId,
    Tensor,
    TraceContext,
)

NOW = 1_795_000_000
SERVABLE = ServableId("m", "1", "sha256:0")
DECISION = Decision(id="d1", allow=True, servable=SERVABLE)
INPUT = Tensor(name="x", datatype="FP32", shape=(2, 2), data=b"\x01" * 16)
OUTPUTS = (
    Tensor(name="score", datatype="FP32", shape=(2,), data=b"\x01" * 8),
    Tensor(name="ssn", datatype="BYTES", shape=(1,), data=b"\x03\0\0\0abc"),
)


class Model:
    """The signature of a model with two outputs."""

    outputs = (TensorSpec("score", "FP32", (-1,)), TensorSpec("ssn", "BYTES", (-1,)))


class Till:
    """Counts what is taken; refuses when ``empty``."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, int, int]] = []
        self.empty = False

    def take(self, rate_limits: Sequence[RateLimit], quotas: Sequence[Quota], rows: int, decision_id: str = "") -> None:
        if self.empty:
            raise Throttled("empty", 7, decision_id)
        self.taken.append((len(rate_limits), len(quotas), rows))


def context(*, size: int = 100, deadline_ns: int | None = None) -> Context:
    return Context(
        action=Action(group="inference", name="infer", service="s", method="ModelInfer"),
        trace=TraceContext(trace_id="t", span_id="s"),
        credentials=Credentials(),
        received_us=NOW * 10**6,
        received_ns=10**9,
        deadline_ns=deadline_ns,
        size=size,
    )


def call(*, outputs: tuple[OutputRequest, ...] = (), **arguments: int | None) -> Call:
    return Call(context=context(**arguments), model=ModelRef("m"), inputs=(INPUT,), outputs=outputs)


class Desk:
    """Obligations over a till, applied to one call at a time."""

    def __init__(self) -> None:
        self.till = Till()
        self.obligations = Obligations(counters=self.till, clock_s=lambda: NOW, mask_key=b"k" * 32)

    def before(
        self,
        *bound: Obligation,
        call: Call | None = None,
        rows: int = 2,
        now_ns: int = 0,
        principal: Principal | None = None,
        model: ModelFacts | None = None,
    ) -> int | None:
        return self.obligations.before(
            call or _CALL, DECISION, merge(bound), Model(), rows, now_ns=now_ns, principal=principal, model=model
        )

    def after(self, *bound: Obligation, requested: tuple[OutputRequest, ...] = ()) -> tuple[Tensor, ...]:
        return self.obligations.after(OUTPUTS, DECISION, merge(bound), requested)


_CALL = call()


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_without_obligations_nothing_is_touched(desk: Desk) -> None:
    assert desk.before() is None
    assert desk.before(call=call(deadline_ns=5)) == 5
    assert desk.after() is OUTPUTS
    assert desk.till.taken == []


@pytest.mark.parametrize(
    ("obligation", "text"),
    [
        (Limit(max_batch=1), "2 rows, at most 1"),
        (Limit(max_inputs=0), "1 inputs, at most 0"),
        (Limit(max_bytes=99), "100 bytes, at most 99"),
    ],
)
def test_a_limit_denies_with_its_figures(desk: Desk, obligation: Limit, text: str) -> None:
    with pytest.raises(PermissionDenied, match=text) as caught:
        desk.before(obligation, RateLimit(key="t", rps=1, burst=1))
    assert (caught.value.codes, caught.value.decision_id) == (("limit_exceeded",), "d1")
    assert desk.till.taken == []


def test_a_limit_met_exactly_admits(desk: Desk) -> None:
    desk.before(Limit(max_batch=2, max_inputs=1, max_bytes=100, max_response_bytes=15))
    assert desk.after(Limit(max_response_bytes=15)) == OUTPUTS


def test_bytes_are_counted_as_bytes_whatever_the_view_counts(desk: Desk) -> None:
    floats = Tensor(name="x", datatype="FP32", shape=(4,), data=memoryview(bytes(16)).cast("f"))
    assert len(floats.data) == 4
    viewed = msgspec.structs.replace(call(size=1), inputs=(floats,))
    with pytest.raises(PermissionDenied, match="16 bytes, at most 15"):
        desk.before(Limit(max_bytes=15), call=viewed)
    bound = merge((MaskOutputs(names=("x",), how="zero"),))
    (zeroed,) = desk.obligations.after((floats,), DECISION, bound)
    assert zeroed.data == bytes(16)


def test_bytes_that_came_through_shared_memory_count(desk: Desk) -> None:
    with pytest.raises(PermissionDenied, match="16 bytes, at most 15"):
        desk.before(Limit(max_bytes=15), call=call(size=1))


@pytest.mark.parametrize(("ours", "theirs", "expected"), [(50, None, 50), (50, 20, 20), (20, 50, 20)])
def test_a_deadline_shortens_and_never_lengthens(desk: Desk, ours: int, theirs: int | None, expected: int) -> None:
    deadline = None if theirs is None else 10**9 + theirs * 10**6
    found = desk.before(Deadline(max_ms=ours), call=call(deadline_ns=deadline))
    assert found == 10**9 + expected * 10**6


def test_a_call_whose_time_is_up_uses_nothing_up(desk: Desk) -> None:
    rate = RateLimit(key="t", rps=1, burst=1)
    for bound, theirs in (((), 5), ((rate,), 5), ((rate, Deadline(max_ms=1)), None)):
        with pytest.raises(DeadlineExceeded):
            desk.before(*bound, call=call(deadline_ns=theirs), now_ns=2 * 10**9)
    assert desk.till.taken == []


def principal(**facts: object) -> Principal:
    return Principal(**{"id": "p", "kind": "service", "tenant": "t", **facts})


def model(**facts: object) -> ModelFacts:
    return ModelFacts(**{"id": SERVABLE, **facts})


@pytest.mark.parametrize(
    ("required", "who", "what", "holds"),
    [
        (Require(what="mtls"), principal(auth="api_key"), None, False),
        (Require(what="mtls"), None, None, False),
        (Require(what="fresh_credential", max_age_s=60), principal(authenticated_s=NOW - 60), None, True),
        (Require(what="fresh_credential", max_age_s=60), principal(authenticated_s=NOW - 61), None, False),
        (Require(what="fresh_credential", max_age_s=60), principal(authenticated_s=NOW + 61), None, False),
        (Require(what="fresh_credential", max_age_s=2**62), principal(), None, False),
        (Require(what="fresh_credential", max_age_s=60), None, None, False),
        (Require(what="signed_model"), None, model(signed=True), True),
        (Require(what="signed_model"), None, model(labels={"signed": "true"}), False),
        (Require(what="signed_model"), None, None, False),
        (Require(what="approved_model"), None, model(stage="approved"), True),
        (Require(what="approved_model"), None, model(stage="released"), True),
        (Require(what="approved_model"), None, model(stage="candidate"), False),
        (Require(what="approved_model"), None, None, False),
    ],
)
def test_a_requirement_holds_only_when_it_is_known_to(
    desk: Desk, required: Require, who: Principal | None, what: ModelFacts | None, holds: bool
) -> None:
    if holds:
        desk.before(required, principal=who, model=what)
        return
    with pytest.raises(PermissionDenied, match=required.what) as caught:
        desk.before(required, principal=who, model=what)
    assert caught.value.codes == ("requirement_unmet",)


def test_mtls_is_about_the_connection_whoever_speaks_over_it(desk: Desk) -> None:
    plain = call()
    verified = msgspec.structs.replace(plain.context, credentials=Credentials(api_key="k", certificate=b"der"))
    over_tls = msgspec.structs.replace(plain, context=verified)
    desk.before(Require(what="mtls"), call=over_tls, principal=principal(auth="api_key"))
    with pytest.raises(PermissionDenied):
        desk.before(Require(what="mtls"), call=plain, principal=principal(auth="jwt"))


def test_a_mask_is_checked_before_the_run_and_applied_after(desk: Desk) -> None:
    with pytest.raises(PermissionDenied) as caught:
        desk.before(MaskOutputs(names=("ssm",), how="drop"))
    assert caught.value.codes == ("mask_impossible",)
    bound = (MaskOutputs(names=("ssn",), how="drop"), MaskOutputs(names=("score",), how="zero"))
    desk.before(*bound)
    assert [(t.name, bytes(t.data)) for t in desk.after(*bound)] == [("score", bytes(8))]


def test_an_output_that_turns_out_not_to_be_maskable_does_not_leave(desk: Desk) -> None:
    with pytest.raises(PermissionDenied) as caught:
        desk.after(MaskOutputs(names=("score",), how="hash"))
    assert caught.value.codes == ("mask_impossible",)


def test_an_answer_too_large_does_not_leave_and_only_what_leaves_counts(desk: Desk) -> None:
    with pytest.raises(PermissionDenied, match="15 bytes, at most 14") as caught:
        desk.after(Limit(max_response_bytes=14))
    assert caught.value.codes == ("limit_exceeded",)
    assert desk.after(Limit(max_response_bytes=14), requested=(OutputRequest(name="score"),)) == OUTPUTS
    assert len(desk.after(Limit(max_response_bytes=8), MaskOutputs(names=("ssn",), how="drop"))) == 1


REFUSALS: list[Obligation] = [
    Require(what="mtls"),
    Limit(max_batch=1),
    MaskOutputs(names=("nothing",), how="zero"),
]


@pytest.mark.parametrize("n", range(len(REFUSALS)))
def test_the_first_in_the_promised_order_speaks_and_nothing_is_used_up(desk: Desk, n: int) -> None:
    desk.till.empty = True
    codes = ["requirement_unmet", "limit_exceeded", "mask_impossible"]
    with pytest.raises(PermissionDenied) as caught:
        desk.before(*REFUSALS[n:], RateLimit(key="t", rps=1, burst=1), Quota(key="t", limit=1, window="day"))
    assert caught.value.codes == (codes[n],)


def test_rates_and_quotas_come_last_and_once(desk: Desk) -> None:
    bound = (RateLimit(key="a", rps=1, burst=1), RateLimit(key="b", rps=1, burst=1), Limit(max_batch=2))
    desk.before(*bound, Quota(key="t", limit=1, window="day"))
    assert desk.till.taken == [(2, 1, 2)]
    desk.till.empty = True
    with pytest.raises(Throttled) as caught:
        desk.before(*bound)
    assert (caught.value.retry_after_ms, caught.value.decision_id) == (7, "d1")


def test_calls_that_are_no_predictions_are_bound_too(desk: Desk) -> None:
    def other(*bound: Obligation, **arguments: int) -> int | None:
        return desk.obligations.before_other(context(**arguments), DECISION, merge(bound))

    assert other() is None
    assert other(Deadline(max_ms=5), Limit(max_batch=0), MaskOutputs(names=("any",), how="drop")) == 10**9 + 5 * 10**6
    refused: list[tuple[Obligation, type[GatewayError]]] = [
        (Require(what="mtls"), PermissionDenied),
        (Limit(max_bytes=99), PermissionDenied),
    ]
    for obligation, error in refused:
        with pytest.raises(error):
            other(obligation, RateLimit(key="t", rps=1, burst=1))
    assert desk.till.taken == []
    other(RateLimit(key="t", rps=1, burst=1))
    assert desk.till.taken == [(1, 0, 1)]
