"""Obligations in the whole path: what a policy binds a call to shows in its answer and its record."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import CONFIG, World, encode

from gateway.errors import DeadlineExceeded, PermissionDenied
from gateway.ledger.ledger import Payload
from gateway.pipeline.payload import KeptTensor, decode_payload, encode_payload
from gateway.policy.obligations import Deadline, Header, Limit, Log, MaskOutputs, Require
from gateway.serving.datatypes import split_elements
from gateway.types import OutputRequest, Permit, Reply, Tensor


def kept(world: World) -> list[Payload]:
    return list(world.ledger.payloads.values())


@pytest.mark.parametrize("payload", ["full", "digest", "none"])
async def test_the_log_obligation_decides_what_is_kept(payload: str) -> None:
    world = World()
    world.rules.obligations = (Log(payload=payload), MaskOutputs(names=("y",), how="zero"))
    await world.handler(world.call(), encode)
    record = world.record()
    assert record.payload == payload
    assert bool(record.in_c) is bool(record.out_c) is (payload != "none")
    assert len(kept(world)) == (payload != "none")
    if payload == "full":
        found = decode_payload(kept(world)[0].body)
        x = np.arange(2, dtype=np.float32).tobytes()
        assert found.inputs == (KeptTensor(name="x", datatype="FP32", shape=(1, 2), data=x),)
        assert [t.data for t in found.outputs] == [bytes(8)]  # as they left, not as the model gave them
        assert found.policy == b'{"a":1}'
    elif payload == "digest":
        found = decode_payload(kept(world)[0].body)
        assert (found.inputs, found.outputs) == ((), ())
        assert found.policy == b'{"a":1}'  # what policy read, so that it can be decided again


async def test_without_a_log_obligation_the_salts_are_kept() -> None:
    world = World()
    await world.handler(world.call(), encode)
    assert world.record().payload == "digest"


@given(
    st.lists(
        st.builds(
            Tensor,
            name=st.text(),
            datatype=st.just("BYTES"),
            shape=st.tuples(st.integers(0, 9)),
            data=st.binary() | st.binary().map(memoryview),
        ),
        max_size=3,
    ),
    st.binary(),
)
def test_a_kept_payload_comes_back(tensors: list[Tensor], policy: bytes) -> None:
    found = decode_payload(encode_payload(tensors, tensors[:1], policy))
    assert [(t.name, t.shape, t.data) for t in found.inputs] == [(t.name, t.shape, bytes(t.data)) for t in tensors]
    assert len(found.outputs) == len(tensors[:1])
    assert found.policy == policy


async def test_an_answer_later_than_policy_allows_is_withheld() -> None:
    world = World()
    world.rules.obligations = (Deadline(max_ms=50),)
    world.model.gate = asyncio.Event()
    running = asyncio.create_task(world.handler(world.call(), encode))
    await asyncio.sleep(0)
    world.clock.now_ns += 60_000_000
    world.model.gate.set()
    with pytest.raises(DeadlineExceeded, match="while the model ran"):
        await running
    record = world.record()
    assert (record.outcome, record.out_c) == ("expired", "")


async def test_a_header_goes_with_predictions_and_with_other_calls() -> None:
    world = World()
    world.rules.obligations = (Header(name="x-policy-note", value="pilot"),)
    delivery = await world.handler(world.call(), encode)
    other = await world.gate.run(world.context(CONFIG), None, lambda _: b"config")
    assert delivery.headers == other.headers == (("x-policy-note", "pilot"),)


@pytest.mark.parametrize("obligation", [Require(what="mtls"), Limit(max_bytes=1)])
async def test_calls_that_are_no_predictions_are_bound_and_recorded(obligation: Require | Limit) -> None:
    world = World()
    world.rules.obligations = (obligation,)

    def answer(_: Permit) -> bytes:
        raise AssertionError("answered although an obligation does not hold")

    with pytest.raises(PermissionDenied):
        await world.gate.run(world.context(CONFIG), None, answer)
    assert (world.record().outcome, world.record().stage) == ("denied", "oblige")


async def test_a_slow_call_that_is_no_prediction_ends_at_the_deadline() -> None:
    world = World()
    world.rules.obligations = (Deadline(max_ms=10),)

    async def slow() -> bytes:
        await asyncio.sleep(5)
        return b""

    with pytest.raises(DeadlineExceeded, match="10 ms"):
        await world.gate.run(world.context(CONFIG), None, lambda _: slow())
    assert world.record().outcome == "expired"


@pytest.mark.parametrize("how", ["drop", "zero"])
async def test_classes_of_a_masked_output_tell_nothing(how: str) -> None:
    replies: list[Reply] = []
    for shift in (1, 3):
        world = World()
        world.rules.obligations = (MaskOutputs(names=("y",), how=how),)

        def seen(reply: Reply) -> bytes:
            replies.append(reply)
            return b""

        call = world.call(shape=(shift, 2), outputs=(OutputRequest(name="y", classification=1),))
        await world.handler(call, seen)
    if how == "drop":
        assert [reply.outputs for reply in replies] == [(), ()]
    else:
        assert {e for r in replies for t in r.outputs for e in split_elements(t.data)} == {b"0.000000:0"}
