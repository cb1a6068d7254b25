"""The life of a prediction: every way out makes exactly one record, with the right outcome and stage."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from worlds import World, encode

from gateway.errors import (
    DeadlineExceeded,
    Draining,
    GatewayError,
    Internal,
    InvalidInput,
    LedgerUnavailable,
    ModelFailed,
    ModelNotFound,
    ModelUnavailable,
    Overloaded,
    PermissionDenied,
    PolicyUnavailable,
    Unauthenticated,
)
from gateway.policy.obligations import Header, Limit, MaskOutputs, Route
from gateway.types import OutputRequest


@pytest.fixture(params=[False, True], ids=["at once", "waiting"], autouse=True)
def pace(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way is taken without waiting for anything but the record, and with waiting at every step."""
    monkeypatch.setattr(World, "slow", request.param)


async def test_an_allowed_call_is_answered_with_the_id_of_its_record() -> None:
    world = World()
    delivery = await world.handler(world.call(request_id="mine"), encode)

    record = world.record()
    assert np.frombuffer(delivery.body, np.float32).tolist() == [0.0, 2.0]
    assert delivery.prediction_id == record.prediction_id == "mem.0/0"
    assert (record.outcome, record.stage, record.status) == ("answered", "record", "OK")
    assert (record.tenant, record.principal, record.cred) == ("t1", "app", "pre")
    assert (record.model, record.version, record.model_sha) == ("m", "1", "sha256:1")
    assert (record.allow, record.policy_rev, record.decision_id) == (True, "rules@1", delivery.decision_id)
    assert (record.rows, record.batch_n, record.rt) == (1, 1, "rt")
    assert list(record.ph) == ["authenticate", "decide", "queue", "infer", "record"]
    assert len(record.in_c) == len(record.out_c) == len(record.pol_c) == 64
    assert record.req
    assert "mine" not in world.ledger.leaves[0].decode()
    assert world.shelf.lent == world.admission.inflight == world.admission.bytes == 0


@pytest.mark.parametrize(
    ("change", "call", "raised", "outcome", "stage"),
    [
        (None, {"key": "bad"}, Unauthenticated, "unauthenticated", "authenticate"),
        (None, {"model": "nope"}, ModelNotFound, "refused", "resolve"),
        ("unready", {}, ModelUnavailable, "failed", "resolve"),
        (None, {"key": "other"}, PermissionDenied, "denied", "enforce"),
        ("policy down", {}, PolicyUnavailable, "failed", "decide"),
        ("small limit", {"shape": (3, 2)}, PermissionDenied, "denied", "oblige"),
        ("bad route", {}, PermissionDenied, "denied", "enforce"),
        (None, {"shape": (1, 3)}, InvalidInput, "refused", "validate"),
        (None, {"defect": InvalidInput("bad contents")}, InvalidInput, "refused", "validate"),
        (None, {"outputs": (OutputRequest(name="z"),)}, InvalidInput, "refused", "validate"),
        ("model fails", {}, ModelFailed, "failed", "infer"),
        ("bug", {}, Internal, "failed", "infer"),
        ("draining", {}, Draining, "failed", "admit"),
        ("full", {}, Overloaded, "refused", "admit"),
        (None, {"deadline_ns": 1}, DeadlineExceeded, "expired", "admit"),
    ],
)
async def test_every_refusal_is_recorded_once_with_where_it_ended(
    change: str | None, call: dict[str, object], raised: type[GatewayError], outcome: str, stage: str
) -> None:
    world = World(max_inflight=0 if change == "full" else 10)
    world.rules.denied = {"t2": ("tenant",)}
    match change:
        case "unready":
            world.shelf.unavailable = {"m"}
        case "policy down":
            world.rules.down = True
        case "small limit":
            world.rules.obligations = (Limit(max_batch=2),)
        case "bad route":
            world.rules.obligations = (Route(version="9"),)
        case "model fails":
            world.model.error = ModelFailed("model m failed")
        case "bug":
            world.model.error = ZeroDivisionError("secret detail")
        case "draining":
            world.admission.close()
    call = dict(call)
    context = world.context(key=str(call.pop("key", "good")), deadline_ns=call.pop("deadline_ns", None))  # type: ignore[arg-type]

    with pytest.raises(raised) as caught:
        await world.handler(world.call(context=context, **call), encode)  # type: ignore[arg-type]

    record = world.record()
    assert (record.outcome, record.stage) == (outcome, stage)
    assert record.status == raised.code.name
    assert ("decide" in record.ph) == bool(record.decision_id)  # a denial took its time too
    assert caught.value.prediction_id == record.prediction_id
    assert caught.value.decision_id == record.decision_id
    assert "secret detail" not in str(caught.value)
    assert world.model.runs == (1 if change in ("model fails", "bug") else 0)
    assert world.shelf.lent == world.admission.inflight == 0


async def test_a_failure_to_encode_the_answer_is_recorded_as_one() -> None:
    world = World()

    def broken(_: object) -> bytes:
        raise InvalidInput("the region is too small")

    with pytest.raises(InvalidInput):
        await world.handler(world.call(), broken)
    assert (world.record().outcome, world.record().stage) == ("refused", "encode")


async def test_nothing_is_answered_when_the_record_cannot_be_made_durable() -> None:
    world = World()
    world.ledger.fail_next()
    with pytest.raises(LedgerUnavailable):
        await world.handler(world.call(), encode)
    assert world.records() == []


async def test_an_answer_waits_for_its_record() -> None:
    world = World()
    world.ledger.hold()
    task = asyncio.create_task(world.handler(world.call(), encode))
    await asyncio.sleep(0.02)
    assert not task.done()
    world.ledger.release()
    assert (await task).prediction_id == "mem.0/0"


async def test_a_call_that_waits_for_its_record_keeps_its_place_so_the_next_is_refused_before_its_work() -> None:
    world = World(max_inflight=1)
    world.ledger.hold()
    first = asyncio.create_task(world.handler(world.call(), encode))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(world.handler(world.call(), encode))
    await asyncio.sleep(0.01)
    world.ledger.release()

    assert (await first).prediction_id == "mem.0/0"
    with pytest.raises(Overloaded):
        await second
    assert (world.model.runs, world.admission.inflight) == (1, 0)


async def test_in_relaxed_mode_the_answer_does_not_wait_and_the_record_says_so() -> None:
    world = World(relaxed=True)
    world.ledger.hold()
    delivery = await asyncio.wait_for(world.handler(world.call(), encode), 1)
    assert delivery.prediction_id == "mem.0/0"
    world.ledger.release()
    await asyncio.sleep(0.01)
    assert world.record().relaxed


@pytest.mark.parametrize(("deadline", "outcome"), [(None, "cancelled"), ("soon", "expired")])
async def test_a_caller_who_leaves_while_the_model_waits_is_recorded(deadline: str | None, outcome: str) -> None:
    world = World()
    world.model.gate = asyncio.Event()
    deadline_ns = world.clock.now_ns + 60_000 if deadline else None
    task = asyncio.create_task(world.handler(world.call(context=world.context(deadline_ns=deadline_ns)), encode))
    await asyncio.sleep(0.01)
    world.clock.now_ns += 1_000_000
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.01)
    assert (world.record().outcome, world.record().stage) == (outcome, "infer")
    assert world.shelf.lent == 0


async def test_a_caller_who_leaves_during_the_commit_is_recorded_as_answered_once() -> None:
    world = World()
    world.ledger.hold()
    task = asyncio.create_task(world.handler(world.call(), encode))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.ledger.release()
    await asyncio.sleep(0.01)
    assert world.record().outcome == "answered"


async def test_a_route_serves_the_other_version_and_the_record_names_it() -> None:
    world = World()
    world.rules.obligations = (Route(version="2"),)
    await world.handler(world.call(), encode)
    assert (world.record().version, world.record().route) == ("2", "pinned")
    assert (world.model.runs, world.newer.runs) == (0, 1)


async def test_a_masked_output_leaves_masked() -> None:
    world = World()
    world.rules.obligations = (MaskOutputs(names=("y",), how="zero"),)
    delivery = await world.handler(world.call(), encode)
    assert delivery.body == bytes(8)
    assert delivery.headers == (("gateway-masked", "y"),)
    assert world.record().obligations == ("mask_outputs",)


async def test_a_mask_that_hides_nothing_of_this_answer_is_not_told() -> None:
    world = World()
    world.rules.obligations = (MaskOutputs(names=("y",), how="drop"), Header(name="x-policy-note", value="pilot"))
    delivery = await world.handler(world.call(), encode)
    assert (delivery.body, delivery.headers) == (b"", (("x-policy-note", "pilot"),))


async def test_two_calls_of_one_caller_commit_differently_to_equal_inputs() -> None:
    world = World()
    await world.handler(world.call(), encode)
    await world.handler(world.call(), encode)
    first, second = world.records()
    assert first.in_c != second.in_c
    assert first.decision_id != second.decision_id
