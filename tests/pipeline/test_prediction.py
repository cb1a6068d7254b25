"""A prediction whose caller is told: the end comes once, whenever he leaves, and without a task where nothing waits."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import pytest
from callers import Caller, begun, is_at_rest, turns
from worlds import World, encode

from gateway.errors import GatewayError, Internal, LedgerUnavailable, ModelFailed, PermissionDenied
from gateway.types import Delivery


class Forgetful(Caller):
    """Keeps nothing: an error knows by its traceback who made it, and so its caller."""

    def failed(self, error: BaseException) -> None:
        assert error


async def test_what_need_not_wait_needs_no_task() -> None:
    world = World()
    _, caller = begun(world)
    assert len(asyncio.all_tasks()) == 1  # this one
    await turns(3)  # the run, then the commit
    assert isinstance(caller.end, Delivery)
    assert caller.end.prediction_id == world.record().prediction_id
    assert is_at_rest(world)


async def test_calls_of_one_turn_end_in_the_order_in_which_they_came() -> None:
    world = World()
    callers = [begun(world)[1] for _ in range(5)]
    await turns()
    ids = [caller.end.prediction_id for caller in callers if isinstance(caller.end, Delivery)]
    assert ids == [f"mem.0/{n}" for n in range(5)]


async def test_nobody_hears_a_denial_before_its_record_is_durable() -> None:
    world = World()
    world.rules.denied = {"t1": ("no",)}
    world.ledger.hold()
    _, caller = begun(world)
    await turns()
    assert caller.ends == []
    world.ledger.release()
    await turns()
    assert isinstance(caller.end, PermissionDenied)
    assert caller.end.prediction_id == "mem.0/0"
    assert is_at_rest(world)


def at_the_start(world: World) -> None:
    """Leaves when the run is the next thing that happens."""


def in_a_thread(world: World) -> None:
    world.model.gate = asyncio.Event()


def during_identity_and_decision(world: World) -> None:
    world.keys.slow = world.rules.slow = True


@pytest.mark.parametrize("state", [at_the_start, in_a_thread, during_identity_and_decision])
async def test_who_leaves_before_the_run_is_recorded_as_gone_and_nothing_runs(state: Callable[[World], None]) -> None:
    world = World()
    state(world)
    prediction, caller = begun(world)
    prediction.cancel()
    await turns()
    assert isinstance(caller.end, asyncio.CancelledError)
    assert (world.record().outcome, world.model.runs) == ("cancelled", 0)
    prediction.cancel()
    await turns()
    assert len(caller.ends) == len(world.records()) == 1
    assert is_at_rest(world)


@pytest.mark.parametrize("denied", [False, True])
async def test_who_leaves_during_the_commit_hears_at_once_and_the_record_says_what_was(denied: bool) -> None:
    world = World()
    world.rules.denied = {"t1": ("no",)} if denied else {}
    world.ledger.hold()
    prediction, caller = begun(world)
    await turns(3)
    prediction.cancel()
    assert isinstance(caller.end, asyncio.CancelledError)
    assert world.admission.inflight == 0
    world.ledger.release()
    await turns()
    assert world.record().outcome == ("denied" if denied else "answered")
    assert len(caller.ends) == 1
    assert is_at_rest(world)


@pytest.mark.parametrize("slow", [set(), {"keys"}, {"rules"}, {"model"}, {"keys", "rules", "model"}])
@pytest.mark.parametrize("after", range(1, 10))
async def test_who_leaves_at_any_moment_hears_so_or_has_heard(slow: set[str], after: int) -> None:
    """There is no moment between two steps at which leaving is forgotten."""
    world = World()
    for part in slow:
        getattr(world, part).slow = True
    prediction, caller = begun(world)
    task = asyncio.create_task(world.handler(world.call(), encode))
    await turns(after)
    ended, done = bool(caller.ends), task.done()
    ran = world.model.runs
    prediction.cancel()
    task.cancel()
    await turns(20)
    assert isinstance(caller.end, Delivery if ended else asyncio.CancelledError)
    assert task.cancelled() != done
    if not ended and ran == 0:
        assert world.model.runs == 0  # nothing runs for nobody
    assert len(world.records()) == 2
    assert is_at_rest(world)


class Panic(BaseException):
    """What Rust panics with is no ``Exception``."""


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("where", ["keys", "rules", "encode"])
async def test_what_is_no_exception_ends_one_call_like_any_bug(
    monkeypatch: pytest.MonkeyPatch, where: str, slow: bool
) -> None:
    monkeypatch.setattr(World, "slow", slow)
    world = World()

    def panic(*_: object) -> bytes:
        raise Panic("index out of bounds")

    if where == "keys":
        monkeypatch.setattr(world.keys, "_prove", panic)
    if where == "rules":
        monkeypatch.setattr(world.rules, "decided", panic)
    caller = Caller()
    world.pipeline.begin(world.call(), panic if where == "encode" else encode, caller)
    await turns()
    assert isinstance(caller.end, Internal)
    assert isinstance(caller.end.__cause__, Panic)
    assert world.record().outcome == "failed"
    assert is_at_rest(world)


async def test_who_leaves_after_the_end_changes_nothing() -> None:
    world = World()
    prediction, caller = begun(world)
    await turns()
    prediction.cancel()
    await turns()
    assert isinstance(caller.end, Delivery)
    assert len(world.records()) == 1


@pytest.mark.parametrize("fails", [None, ModelFailed("it failed")])
async def test_a_record_that_is_lost_is_told_counted_and_no_answer(fails: GatewayError | None) -> None:
    world = World()
    world.model.error = fails
    world.ledger.fail_next()
    _, caller = begun(world)
    await turns()
    assert isinstance(caller.end, LedgerUnavailable)
    assert caller.end.__cause__ is fails
    assert (world.tally.unrecorded, world.tally.recorded) == (1, 0)
    assert is_at_rest(world)


async def test_a_record_that_is_lost_after_the_caller_left_is_counted_too() -> None:
    world = World()
    world.ledger.hold()
    prediction, caller = begun(world)
    await turns(3)
    prediction.cancel()
    world.ledger.fail_next()
    world.ledger.release()
    await turns()
    assert isinstance(caller.end, asyncio.CancelledError)
    assert world.tally.unrecorded == 1
    assert is_at_rest(world)


async def test_a_ledger_that_takes_nothing_ends_a_call_before_begin_returns() -> None:
    world = World()
    await world.ledger.close()
    world.rules.denied = {"t1": ("no",)}
    _, caller = begun(world)
    assert isinstance(caller.end, LedgerUnavailable)
    assert is_at_rest(world)


async def test_a_bug_of_an_encoder_is_told_without_its_text() -> None:
    world = World()
    caller = Caller()

    def broken(_: object) -> bytes:
        raise ZeroDivisionError("secret detail")

    world.pipeline.begin(world.call(), broken, caller)
    await turns()
    assert isinstance(caller.end, GatewayError)
    assert "secret" not in str(caller.end)
    assert isinstance(caller.end.__cause__, ZeroDivisionError)
    assert (world.record().outcome, world.record().stage) == ("failed", "encode")
    assert is_at_rest(world)


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("ending", ["answered", "denied", "misfit", "cancelled"])
async def test_no_ending_leaves_work_for_the_collector(
    monkeypatch: pytest.MonkeyPatch, slow: bool, ending: str
) -> None:
    """It looks seldom in a worker, since calls make no circles."""
    monkeypatch.setattr(World, "slow", slow)
    world = World()
    world.rules.denied = {"t1": ("no",)} if ending == "denied" else {}

    async def once() -> None:
        call = world.call(shape=(1, 3) if ending == "misfit" else (1, 2))
        prediction = world.pipeline.begin(call, encode, Forgetful())
        if ending == "cancelled":
            prediction.cancel()
        await turns()

    await once()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await once()
        assert gc.collect() < 20
    finally:
        gc.enable()
