"""What a stranger may learn of a model that does not exist."""

from __future__ import annotations

import pytest
from worlds import World, encode

from gateway.errors import ModelNotFound, PermissionDenied


async def test_with_hidden_existence_an_absent_model_is_put_to_the_policy() -> None:
    world = World(hide_existence=True)
    world.rules.denied = {"t2": ("model",)}

    with pytest.raises(PermissionDenied) as denied:
        await world.handler(world.call(model="nope", context=world.context(key="other")), encode)
    with pytest.raises(PermissionDenied) as real:
        await world.handler(world.call(model="m", context=world.context(key="other")), encode)
    assert str(denied.value) == str(real.value)

    with pytest.raises(ModelNotFound):
        await world.handler(world.call(model="nope"), encode)
    assert [q.model.known for q in world.rules.queries if q.model] == [False, True, False]


async def test_the_policy_is_asked_about_the_exact_version_and_told_what_was_asked() -> None:
    world = World()
    await world.handler(world.call(version="2"), encode)
    (query,) = world.rules.queries
    assert query.model is not None
    assert query.model.id == world.newer.id
    assert (query.requested, query.requested_version) == ("m", "2")
    assert query.call is not None
    assert query.principal.id == "app"
