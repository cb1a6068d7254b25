"""Admission: bounds that hold, and places that come back."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import World

from gateway.errors import DeadlineExceeded, Draining, Overloaded
from gateway.pipeline.admission import Admission


def admission(inflight: int = 2, size: int = 100) -> Admission:
    return Admission(max_inflight=inflight, max_bytes=size, clock_ns=lambda: 1_000)


async def test_more_calls_than_places_are_refused_with_when_to_retry() -> None:
    world, gate = World(), admission()
    with gate.slot(world.context()), gate.slot(world.context()):
        with (
            pytest.raises(Overloaded, match="2 calls are in flight, the limit is 2") as caught,
            gate.slot(world.context()),
        ):
            pass
        assert caught.value.retry_after_ms > 0
    with gate.slot(world.context()):
        assert gate.inflight == 1
    assert (gate.inflight, gate.bytes, gate.admitted) == (0, 0, 3)


async def test_bytes_are_bounded_but_one_large_call_alone_passes() -> None:
    world, gate = World(), admission(inflight=10)
    large, small = world.context(size=500), world.context(size=1)
    gate.enter(large)
    with pytest.raises(Overloaded, match="500 request bytes are in flight"):
        gate.enter(small)
    gate.leave(large)
    with gate.slot(world.context(size=60)), gate.slot(world.context(size=40)):
        assert gate.bytes == 100


async def test_a_call_whose_deadline_has_passed_takes_no_place() -> None:
    world, gate = World(), admission()
    with pytest.raises(DeadlineExceeded), gate.slot(world.context(deadline_ns=1_000)):
        pass
    assert gate.inflight == 0


async def test_after_close_all_are_told_to_go_elsewhere() -> None:
    world, gate = World(), admission()
    gate.close()
    with pytest.raises(Draining), gate.slot(world.context()):
        pass


async def test_a_call_that_came_as_one_too_many_is_refused_though_there_is_a_place_now() -> None:
    world, gate = World(), admission()
    excess = msgspec.structs.replace(world.context(), excess=True)
    with pytest.raises(Overloaded, match="than can be answered in time"), gate.slot(excess):
        pass
    assert gate.inflight == 0


async def test_calls_that_wait_to_be_handled_count_as_waiting_and_those_in_threads_do_not() -> None:
    now = 1

    def clock() -> int:
        return now

    world, gate = World(), Admission(max_inflight=4096, max_bytes=10**6, clock_ns=clock, budget_ns=100_000_000)
    for _ in range(3):
        gate.look(elsewhere=200, before=500)
        now += 50_000_000
        for _ in range(100):  # in 50 ms: half a millisecond each, so 200 within the budget
            with gate.slot(world.context(size=0)):
                pass
    gate.look(elsewhere=200, before=500)
    assert gate.limit == 200 + 200
    assert not gate.full(399, None)
    assert gate.full(400, None)
    assert gate.full(300, 49_000_000)
    assert not gate.full(300, 51_000_000)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 60)), max_size=60))
async def test_the_bounds_hold_for_any_order_of_coming_and_going(steps: list[tuple[bool, int]]) -> None:
    world, gate = World(), admission(inflight=5)
    inside = []
    for enter, size in steps:
        if enter:
            context = world.context(size=size)
            try:
                gate.enter(context)
            except Overloaded:
                continue
            inside.append(context)
        elif inside:
            gate.leave(inside.pop(0))
        assert gate.inflight == len(inside) <= 5
        assert gate.bytes == sum(c.size for c in inside)
        assert gate.bytes <= 100 or len(inside) == 1
