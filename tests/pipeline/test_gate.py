"""Calls that are no predictions: the same order, the same records; health answers leave none."""

from __future__ import annotations

import pytest
from worlds import CONFIG, HEALTH, World

from gateway.errors import InvalidInput, LedgerUnavailable, ModelNotFound, PermissionDenied
from gateway.policy.obligations import Limit
from gateway.types import ModelRef, Permit


async def test_an_answer_is_made_with_a_permit_for_the_exact_model_and_recorded() -> None:
    world = World()
    seen: list[Permit] = []

    async def answer(permit: Permit) -> bytes:
        seen.append(permit)
        return b"config"

    delivery = await world.gate.run(world.context(CONFIG), ModelRef("m"), answer)

    assert delivery.body == b"config"
    assert seen[0].servable == world.model.id
    record = world.record()
    assert delivery.prediction_id == record.prediction_id
    assert (record.action, record.method, record.outcome) == ("model-config:get", "ModelConfig", "answered")
    assert (record.in_c, record.payload) == ("", "none")


async def test_health_answers_are_not_recorded_but_health_denials_are() -> None:
    world = World()
    delivery = await world.gate.run(world.context(HEALTH), None, lambda _: b"live")
    assert (delivery.body, delivery.prediction_id) == (b"live", "")
    assert world.records() == []

    world.rules.denied = {"t1": ("network",)}
    with pytest.raises(PermissionDenied):
        await world.gate.run(world.context(HEALTH), None, lambda _: b"live")
    assert world.record().outcome == "denied"


async def test_nothing_is_computed_for_who_is_denied() -> None:
    world = World()
    world.rules.denied = {"t1": ("role",)}
    with pytest.raises(PermissionDenied) as caught:
        await world.gate.run(world.context(CONFIG), ModelRef("m"), lambda _: pytest.fail("ran unpermitted"))
    assert caught.value.codes == ("role",)
    assert world.record().reasons == ("role",)


async def test_an_obligation_on_the_size_of_a_call_holds_here_too() -> None:
    world = World()
    world.rules.obligations = (Limit(max_bytes=8),)
    with pytest.raises(PermissionDenied, match="limit_exceeded"):
        await world.gate.run(world.context(CONFIG, size=9), ModelRef("m"), lambda _: b"")


async def test_an_unknown_model_is_an_error_unless_the_answer_tells_it() -> None:
    world = World()
    with pytest.raises(ModelNotFound):
        await world.gate.run(world.context(CONFIG), ModelRef("nope"), lambda _: b"")
    seen: list[Permit] = []
    await world.gate.run(world.context(CONFIG), ModelRef("nope"), lambda p: seen.append(p) or b"no", resolve=False)
    assert seen[0].servable is not None
    assert seen[0].servable.version == ""


async def test_a_failing_answer_is_recorded_with_its_stage() -> None:
    world = World()

    def answer(_: Permit) -> bytes:
        raise InvalidInput("no such setting")

    with pytest.raises(InvalidInput):
        await world.gate.run(world.context(CONFIG), None, answer)
    assert (world.record().outcome, world.record().stage) == ("refused", "answer")


async def test_no_record_no_answer() -> None:
    world = World()
    world.ledger.fail_next()
    with pytest.raises(LedgerUnavailable):
        await world.gate.run(world.context(CONFIG), ModelRef("m"), lambda _: b"config")
