"""What is kept beside a record, and what is not."""

from __future__ import annotations

import msgspec
import pytest
from worlds import Rules, World, encode

from gateway.errors import Unauthenticated
from gateway.ledger.commitment import SALT_BYTES, commit, commit_bytes
from gateway.pipeline.payload import decode_payload
from gateway.policy.pdp import Query
from gateway.types import Decision


class Remembering(Rules):
    """Repeats its first decision, as a cache does."""

    def decided(self, query: Query) -> Decision:
        decision = super().decided(query)
        first = f"{1:032x}"
        return msgspec.structs.replace(decision, cached_from="" if decision.id == first else first)


async def test_the_salts_open_the_commitments() -> None:
    world = World()
    call = world.call()
    await world.handler(call, encode)
    record, payload = world.record(), world.ledger.payloads[0]
    salt_in, salt_out = payload.salts[:SALT_BYTES], payload.salts[SALT_BYTES:]
    assert record.in_c == commit("in", salt_in, call.inputs)
    assert len(salt_out) == SALT_BYTES
    kept = decode_payload(payload.body)
    assert record.pol_c == commit_bytes("pol", salt_in, kept.policy)
    assert (kept.inputs, kept.outputs) == ((), ())


async def test_a_repeated_decision_keeps_its_input_once() -> None:
    world = World()
    world.rules.__class__ = Remembering
    await world.handler(world.call(), encode)
    await world.handler(world.call(), encode)
    first, second = world.records()
    assert (first.cached, second.cached, second.cached_from) == (False, True, first.decision_id)
    assert (bool(first.pol_c), bool(second.pol_c)) == (True, False)
    assert decode_payload(world.ledger.payloads[0].body).policy
    assert world.ledger.payloads[1].body == b""


async def test_nothing_is_kept_of_who_proved_nothing() -> None:
    world = World()
    with pytest.raises(Unauthenticated):
        await world.handler(world.call(context=world.context(key="bad")), encode)
    assert world.ledger.payloads == {}
    assert world.record().in_c == ""
