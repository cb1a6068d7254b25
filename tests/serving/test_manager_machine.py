"""The manager as a state machine: whatever is wanted, loaded, failed or switched while calls come and go,
no call sees a version that was not fully loaded, and none fails because of a reload."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import TypeAlias

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule
from serving_fakes import FakeLoader, FakeServable, FakeSource, PatientExecutor, PatientSleep, permit, settle

from gateway.serving.manager import Manager
from gateway.serving.servable import Servable
from gateway.serving.version_policy import State
from gateway.types import ModelFacts, ModelRef, ServableId

CONTENTS = st.tuples(st.sampled_from(["1", "2", "3"]), st.sampled_from(["good", "better", "bad"]))


Lease: TypeAlias = AbstractContextManager[Servable]


class Reloads(RuleBasedStateMachine):
    """Calls in two halves: resolved (being decided), then leased (running)."""

    deciding = Bundle("deciding")
    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.executor = PatientExecutor()
        self.sleep = PatientSleep()
        self.source = FakeSource()
        self.manager = Manager(self.executor, sleep=self.sleep)
        self.resolved = 0
        self.leased: list[tuple[Lease, FakeServable]] = []
        self.run(self.manager.start(self.source))

    def run(self, work):  # type: ignore[no-untyped-def]
        return self.loop.run_until_complete(work)

    @rule(contents=st.lists(CONTENTS, max_size=3, unique_by=lambda c: c[0]))
    def want(self, contents: list[tuple[str, str]]) -> None:
        self.source.state(*[FakeLoader(ServableId("m", v, c), fails=c == "bad") for v, c in contents])
        self.run(settle())

    @rule(index=st.integers(0, 3))
    def finish_a_load(self, index: int) -> None:
        if self.executor.waiting:
            self.executor.finish(index % len(self.executor.waiting))
            self.run(settle())

    @rule(version=st.sampled_from(["1", "2"]), digest=st.uuids())
    def reload_at_once(self, version: str, digest: object) -> None:
        self.want([(version, str(digest))])
        while self.executor.waiting:
            self.finish_a_load(0)

    @precondition(lambda self: self.manager.ready(ModelRef("m")))
    @rule(target=deciding, pick=st.integers(0, 3))
    def begin_a_call(self, pick: int) -> ModelFacts:
        ready = ["", *[row.version for row in self.manager.index() if row.state is State.READY]]
        self.resolved += 1
        return self.manager.resolve(ModelRef("m", ready[pick % len(ready)]))

    @rule(target=running, facts=consumes(deciding))
    def lease_for_a_call(self, facts: ModelFacts) -> tuple[Lease, FakeServable]:
        lease = self.manager.lease(permit(facts.id))
        servable = lease.__enter__()
        assert isinstance(servable, FakeServable)
        assert servable.id == facts.id
        self.resolved -= 1
        self.leased.append((lease, servable))
        return lease, servable

    @rule(call=consumes(running))
    def end_a_call(self, call: tuple[Lease, FakeServable]) -> None:
        call[0].__exit__(None, None, None)
        self.leased.remove(call)
        self.run(settle())

    @rule()
    def let_time_pass(self) -> None:
        # Longer than a decision may take: nothing that was being decided is still so.
        if not self.resolved:
            self.sleep.wake()
            self.run(settle())

    @invariant()
    def every_running_call_has_its_model(self) -> None:
        assert not any(servable.closed for _, servable in self.leased)

    @invariant()
    def what_resolves_is_loaded_and_ready(self) -> None:
        for row in self.manager.index():
            if row.state is State.READY:
                servable = self.manager.servable(ServableId("m", row.version, row.digest))
                assert isinstance(servable, FakeServable)
                assert not servable.closed
        assert self.manager.ready(ModelRef("m")) == any(row.state is State.READY for row in self.manager.index())

    def teardown(self) -> None:
        while self.leased:
            self.end_a_call(self.leased[-1])
        self.resolved = 0
        for _ in range(10):
            while self.executor.waiting:
                self.finish_a_load(0)
            self.let_time_pass()
        wanted = {loader.id: loader for loader in self.source.desired.get("m", ())}
        rows = {(row.version, row.digest): row for row in self.manager.index()}
        for id_, loader in wanted.items():
            failed = isinstance(loader, FakeLoader) and loader.fails
            assert rows[id_.version, id_.digest].state is (State.UNAVAILABLE if failed else State.READY)
        if not wanted:
            assert not rows
        self.run(self.manager.close())
        self.loop.close()


Reloads.TestCase.settings = settings(max_examples=150, stateful_step_count=20, deadline=None)
TestReloads = Reloads.TestCase
