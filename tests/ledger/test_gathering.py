"""Records wait for company, but not for long, not in vain for ever, and never out of order."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.ledger.gathering import PATIENCE_S, PIECE, SIBLINGS, VAIN, Gathering
from gateway.ledger.writer import Entry

from .conftest import Open, a_call

TURN_S = 0.001


class Loop(asyncio.AbstractEventLoop):
    """A loop whose turns and clock are moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self._soon: list[asyncio.Handle] = []
        self._later: list[asyncio.TimerHandle] = []

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        self._soon.append(asyncio.Handle(callback, args, self, context))
        return self._soon[-1]

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        self._later.append(asyncio.TimerHandle(self.now + delay, callback, args, self, context))
        return self._later[-1]

    def _timer_handle_cancelled(self, timer: asyncio.TimerHandle) -> None:
        self._later.remove(timer)

    def get_debug(self) -> bool:
        return False

    def turn(self) -> None:
        """Run what is ready, after ``TURN_S``."""
        self.now += TURN_S
        due = [timer for timer in self._later if timer.when() <= self.now]
        self._later = [timer for timer in self._later if timer not in due]
        ready, self._soon = [*self._soon, *due], []
        for handle in ready:
            handle._run()

    @property
    def timers(self) -> int:
        return len(self._later)


class Gathered:
    """A gathering, what it gave and when each record came."""

    def __init__(self, coming: int = 0) -> None:
        self.loop = Loop()
        self.given: list[list[int]] = []
        self.coming = coming
        self.came: dict[int, float] = {}
        self.gathering = Gathering(self.loop, lambda entries: self.given.append([entry.seq for entry in entries]))
        self.gathering.coming = lambda: self.coming
        self._seqs: Iterator[int] = iter(range(1_000_000))

    def add(self, count: int) -> None:
        for _ in range(count):
            seq = next(self._seqs)
            self.came[seq] = self.loop.now
            self.gathering.add(Entry(seq, b"", None, None))  # type: ignore[arg-type]  # nobody waits for it

    @property
    def sizes(self) -> list[int]:
        return [len(entries) for entries in self.given]


def test_without_company_a_turn_goes_at_its_end() -> None:
    gathered = Gathered(coming=SIBLINGS - 1)
    gathered.add(3)
    assert gathered.sizes == []

    gathered.loop.turn()

    assert (gathered.sizes, gathered.loop.timers) == ([3], 0)


def test_with_company_turns_go_together() -> None:
    gathered = Gathered(coming=SIBLINGS)
    gathered.add(20)
    gathered.loop.turn()
    gathered.add(20)
    gathered.loop.turn()
    assert gathered.sizes == []

    gathered.coming = 0  # all have come
    gathered.add(5)
    gathered.loop.turn()

    assert (gathered.sizes, gathered.loop.timers) == ([45], 0)


def test_a_piece_waits_for_nobody() -> None:
    gathered = Gathered(coming=1_000)
    gathered.add(2 * PIECE + 1)

    assert gathered.sizes == [PIECE, PIECE]


def test_patience_has_an_end() -> None:
    gathered = Gathered(coming=SIBLINGS)
    for _ in range(20):
        gathered.add(1)
        gathered.loop.turn()
        if gathered.given:
            break

    assert gathered.loop.now == pytest.approx(PATIENCE_S + TURN_S, abs=TURN_S)


def test_who_waited_in_vain_does_not_wait_again_soon() -> None:
    gathered = Gathered(coming=SIBLINGS)  # which wait for something else than the loop
    gathered.add(1)
    while not gathered.given:
        gathered.loop.turn()

    for _ in range(VAIN):
        gathered.add(1)
        gathered.loop.turn()
    assert gathered.sizes == [1] * (VAIN + 1)

    gathered.add(1)
    gathered.loop.turn()
    assert gathered.sizes == [1] * (VAIN + 1)  # it has forgotten


def test_release_gives_what_is_there_and_only_once() -> None:
    gathered = Gathered(coming=SIBLINGS)
    gathered.add(2)
    gathered.loop.turn()
    gathered.gathering.release()
    gathered.gathering.release()

    assert (gathered.sizes, gathered.loop.timers) == ([2], 0)


def test_a_count_that_fails_keeps_no_record_back() -> None:
    gathered = Gathered()

    def broken() -> int:
        raise RuntimeError("cannot count")

    gathered.gathering.coming = broken
    gathered.add(2)
    with pytest.raises(RuntimeError):
        gathered.gathering._end()

    assert (gathered.sizes, gathered.loop.timers) == ([2], 0)


class Gatherings(RuleBasedStateMachine):
    """However calls come and whatever is expected: order is kept, nothing is lost, nothing waits for too long."""

    def __init__(self) -> None:
        super().__init__()
        self.gathered = Gathered()

    @rule(count=st.integers(1, 2 * PIECE))
    def add(self, count: int) -> None:
        self.gathered.add(count)

    @rule(coming=st.sampled_from((0, SIBLINGS - 1, SIBLINGS, 500)))
    def expect(self, coming: int) -> None:
        self.gathered.coming = coming

    @rule()
    def turn(self) -> None:
        self.gathered.loop.turn()

    @rule()
    def release(self) -> None:
        self.gathered.gathering.release()

    @invariant()
    def in_order_and_in_time(self) -> None:
        gathered = self.gathered
        seqs = [seq for entries in gathered.given for seq in entries]
        assert seqs == list(range(len(seqs)))
        assert all(0 < size <= PIECE for size in gathered.sizes)
        waiting = [came for seq, came in gathered.came.items() if seq >= len(seqs)]
        assert len(waiting) < PIECE
        assert all(gathered.loop.now - came <= PATIENCE_S + 2 * TURN_S for came in waiting)


TestGatherings = Gatherings.TestCase


async def test_a_shard_that_expects_records_commits_turns_together(open_shard: Open) -> None:
    ledger = await open_shard()
    before, coming = ledger.commits, 3 * SIBLINGS
    ledger.expect(lambda: coming)
    waiting = []
    for _ in range(3):
        waiting += [ledger.append(a_call(boot=ledger.boot)) for _ in range(SIBLINGS)]
        coming -= SIBLINGS
        await asyncio.sleep(0)

    assert [(await receipt).seq for receipt in waiting] == list(range(1, 3 * SIBLINGS + 1))
    assert ledger.commits == before + 1
