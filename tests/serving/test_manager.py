"""The manager's promises, one by one, with fakes; the state machine beside this file mixes them."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving_fakes import FakeLoader, FakeServable, FakeSource, PatientExecutor, PatientSleep, permit, settle

from gateway.errors import InvalidInput, ModelNotFound, ModelUnavailable
from gateway.serving.manager import Manager
from gateway.serving.version_policy import State
from gateway.types import Decision, ModelRef, Permit, ServableId

ONE, TWO, OTHER = ServableId("m", "1", "a"), ServableId("m", "2", "b"), ServableId("n", "1", "c")


class Stage:
    """A manager whose loads and drains happen when the test says so."""

    def __init__(self, **options: int) -> None:
        self.executor = PatientExecutor()
        self.sleep = PatientSleep()
        self.source = FakeSource()
        self.manager = Manager(self.executor, sleep=self.sleep, **options)

    async def start(self, *loaders: FakeLoader) -> None:
        """Start with ``loaders`` loaded."""
        self.source.state(*loaders)
        starting = asyncio.create_task(self.manager.start(self.source))
        await self.finish()
        await starting

    async def finish(self) -> None:
        """Let every load and every drain end."""
        await settle()
        while self.executor.waiting:
            self.executor.finish()
            await settle()

    async def want(self, *loaders: FakeLoader) -> None:
        self.source.state(*loaders)
        await settle()


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_the_newest_ready_version_serves(stage: Stage) -> None:
    await stage.start(FakeLoader(ONE), FakeLoader(TWO))
    assert stage.manager.resolve(ModelRef("m")).id == TWO
    assert stage.manager.resolve(ModelRef("m", "1")).id == ONE
    assert stage.manager.resolve(ModelRef("m", "01")).id == ONE
    assert stage.manager.all_ready()


async def test_a_new_version_serves_only_once_it_is_loaded(stage: Stage) -> None:
    await stage.start(FakeLoader(ONE))
    await stage.want(FakeLoader(TWO))
    assert stage.manager.resolve(ModelRef("m")).id == ONE
    await stage.finish()
    assert stage.manager.resolve(ModelRef("m")).id == TWO


async def test_a_call_that_was_being_decided_still_gets_its_version(stage: Stage) -> None:
    old = FakeLoader(ONE)
    await stage.start(old)
    facts = stage.manager.resolve(ModelRef("m"))
    await stage.want(FakeLoader(TWO))
    await stage.finish()
    with stage.manager.lease(permit(facts.id)) as servable:
        stage.sleep.wake()
        await settle()
        assert servable.id == ONE
        assert not old.loaded.closed
    await settle()
    assert old.loaded.closed
    with pytest.raises(ModelUnavailable, match="'m' version 1 is not at ready state"):
        stage.manager.lease(permit(facts.id))


async def test_a_lease_keeps_the_old_version_loaded(stage: Stage) -> None:
    old = FakeLoader(ONE)
    await stage.start(old)
    with stage.manager.lease(permit(ONE)), stage.manager.lease(permit(ONE)):
        await stage.want()
        stage.sleep.wake()
        await settle()
        assert isinstance(old.loaded, FakeServable)
        assert not old.loaded.closed
        assert not stage.manager.ready(ModelRef("m"))
    await settle()
    assert old.loaded.closed
    assert stage.manager.index() == []


async def test_a_failed_load_keeps_the_old_content_and_says_why(stage: Stage) -> None:
    await stage.start(FakeLoader(ONE))
    await stage.want(FakeLoader(ServableId("m", "1", "new"), fails=True))
    await stage.finish()
    assert stage.manager.resolve(ModelRef("m", "1")).id == ONE
    kept, failed = stage.manager.index()
    assert (kept.state, kept.digest) == (State.READY, "a")
    assert (failed.state, failed.reason) == (State.UNAVAILABLE, "m:1: cut short")
    assert not stage.manager.all_ready()


async def test_one_bad_model_leaves_the_others_alone(stage: Stage) -> None:
    await stage.start(FakeLoader(ONE, fails=True), FakeLoader(OTHER))
    assert stage.manager.resolve(ModelRef("n")).id == OTHER
    with pytest.raises(ModelNotFound, match="'m' has no available versions"):
        stage.manager.resolve(ModelRef("m"))
    with pytest.raises(ModelUnavailable, match="'m' version 1 is not at ready state"):
        stage.manager.resolve(ModelRef("m", "1"))


async def test_what_is_not_there_is_refused_in_tritons_words(stage: Stage) -> None:
    await stage.start(FakeLoader(ONE))
    with pytest.raises(ModelNotFound, match=r"^Request for unknown model: 'x' is not found$"):
        stage.manager.resolve(ModelRef("x"))
    with pytest.raises(ModelNotFound, match=r"^Request for unknown model: 'm' version 9 is not found$"):
        stage.manager.resolve(ModelRef("m", "9"))
    with pytest.raises(InvalidInput, match="neither a number nor one of its labels"):
        stage.manager.resolve(ModelRef("m", "-1"))


async def test_a_permit_for_no_model_leases_nothing(stage: Stage) -> None:
    await stage.start(FakeLoader(ONE))
    with pytest.raises(ModelUnavailable):
        stage.manager.lease(Permit(None, Decision(id="d", allow=True, servable=None)))


async def test_a_model_over_the_memory_budget_waits_until_there_is_room() -> None:
    stage = Stage(budget_bytes=10)
    await stage.start(FakeLoader(ONE, size=6))
    await stage.want(FakeLoader(ONE, size=6), FakeLoader(OTHER, size=6))
    await stage.finish()
    row = stage.manager.index()[1]
    assert row.reason == "it may need 6 bytes, but 6 of the budget of 10 are in use"
    await stage.want(FakeLoader(OTHER, size=6))
    stage.sleep.wake()
    await stage.finish()
    assert stage.manager.resolve(ModelRef("n")).id == OTHER


async def test_a_version_wanted_again_while_it_drains_is_back_at_once(stage: Stage) -> None:
    loader = FakeLoader(ONE)
    await stage.start(loader)
    await stage.want()
    assert not stage.manager.ready(ModelRef("m"))
    await stage.want(FakeLoader(ONE))
    assert stage.manager.resolve(ModelRef("m")).id == ONE
    stage.sleep.wake()
    await stage.finish()
    assert isinstance(loader.loaded, FakeServable)
    assert not loader.loaded.closed


async def test_an_earlier_departure_does_not_shorten_a_later_one(stage: Stage) -> None:
    loader = FakeLoader(ONE)
    await stage.start(loader)
    await stage.want()
    await stage.want(FakeLoader(ONE))
    first, stage.sleep.sleeping = stage.sleep.sleeping, []
    await stage.want()
    first[0].set_result(None)
    await settle()
    with stage.manager.lease(permit(ONE)):
        pass
    stage.sleep.wake()
    await settle()
    assert loader.loaded is not None
    assert loader.loaded.closed


async def test_subscribers_hear_of_every_change(stage: Stage) -> None:
    heard: list[list[State]] = []
    stage.manager.subscribe(lambda: heard.append([row.state for row in stage.manager.index()]))
    await stage.start(FakeLoader(ONE))
    assert heard == [[State.LOADING], [State.READY]]


async def test_a_source_that_fails_later_changes_nothing(stage: Stage) -> None:
    await stage.start(FakeLoader(ONE))
    stage.source.desired = None  # type: ignore[assignment]
    stage.source.changed()
    await settle()
    assert stage.manager.resolve(ModelRef("m")).id == ONE


async def test_closing_frees_every_model(stage: Stage) -> None:
    loader = FakeLoader(ONE)
    await stage.start(loader)
    await stage.manager.close()
    assert loader.loaded is not None
    assert loader.loaded.closed
    assert not stage.manager.ready(ModelRef("m"))


async def test_a_label_moves_only_to_a_version_that_is_ready(stage: Stage) -> None:
    stage.source.named = {"m": {"canary": "1"}}
    await stage.start(FakeLoader(ONE))
    assert stage.manager.resolve(ModelRef("m", "canary")).id == ONE
    stage.source.named = {"m": {"canary": "2", "stable": "9"}}
    await stage.want(FakeLoader(ONE), FakeLoader(TWO))
    assert stage.manager.resolve(ModelRef("m", "canary")).id == ONE
    await stage.finish()
    assert stage.manager.resolve(ModelRef("m", "canary")).id == TWO
    with pytest.raises(ModelUnavailable, match="'m' version stable is not at ready state"):
        stage.manager.resolve(ModelRef("m", "stable"))


async def test_statistics_are_of_what_is_ready(stage: Stage) -> None:
    await stage.start(FakeLoader(ONE), FakeLoader(OTHER))
    rows = stage.manager.statistics(now_ns=0, now_ms=0)
    assert sorted((row.name, row.version) for row in rows) == [("m", "1"), ("n", "1")]


async def test_the_source_is_asked_by_one_at_a_time(executor: ThreadPoolExecutor) -> None:
    source = FakeSource()
    asking: list[int] = []
    most = 0

    def aspired() -> dict[str, list[FakeLoader]]:
        nonlocal most
        asking.append(1)
        most = max(most, len(asking))
        time.sleep(0.01)
        asking.pop()
        return {}

    source.aspired = aspired  # type: ignore[method-assign]
    manager = Manager(executor)
    await manager.start(source)
    await asyncio.gather(*[manager.refresh() for _ in range(4)])
    assert most == 1
    await manager.close()


async def test_a_bad_model_is_one_line_of_log_and_a_good_one_none(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await stage.start(FakeLoader(ONE, fails=True), FakeLoader(OTHER))
        await stage.manager.close()
    (line,) = caplog.records
    assert line.getMessage() == "servable.unavailable"
    assert (line.model, line.version, line.reason) == ("m", "1", "m:1: cut short")  # type: ignore[attr-defined]
