"""Handlers start in order, so many a turn; who ended before, or is to be refused, does not hold up the rest."""

from __future__ import annotations

import asyncio

from gateway.transport.h2.call import Call
from gateway.transport.h2.starts import Starts
from gateway.transport.h2.turn_length import FIRST, MOST, TURN_NS, TurnLength


class Intake:
    """Starts calls, and remembers them by the turn of the loop in which they started."""

    def __init__(self, least: int, most: int = 0) -> None:
        self.now_ns = 0
        self.length = TurnLength(least=least, most=most or least)
        self.starts = Starts(lambda: self.now_ns, self.length)
        self.turns: list[list[int]] = [[]]

    def call(self, number: int, *, first: bool = False) -> Call:
        call = Call()
        call.id = number
        self.starts.add(call, self.start, first=first)
        return call

    def start(self, call: Call) -> None:
        self.turns[-1].append(call.id)

    async def live(self, turns: int) -> None:
        for _ in range(turns):
            self.turns.append([])
            await asyncio.sleep(0)


async def test_calls_start_in_the_turn_after_they_came() -> None:
    intake = Intake(2)
    for number in range(3):
        intake.call(number)
        assert (intake.turns, len(intake.starts)) == ([list(range(number))], 1)
        await asyncio.sleep(0)
    assert (intake.turns, intake.starts.calls, len(intake.starts)) == ([[0, 1, 2]], 3, 0)


async def test_more_than_a_turn_takes_start_in_later_turns_in_order() -> None:
    intake = Intake(3)
    for number in range(8):
        assert intake.starts.late == (number >= 3)
        intake.call(number)
    assert (intake.starts.calls, len(intake.starts)) == (8, 8)
    await intake.live(4)
    assert intake.turns == [[], [0, 1, 2], [3, 4, 5], [6, 7], []]
    assert (intake.starts.calls, len(intake.starts)) == (8, 0)


async def test_who_comes_later_waits_behind_those_who_wait() -> None:
    intake = Intake(2)
    for number in range(3):
        intake.call(number)
    await intake.live(1)
    for number in range(3, 6):
        intake.call(number)
    await intake.live(3)
    assert [number for turn in intake.turns for number in turn] == list(range(6))
    assert max(map(len, intake.turns)) == 2


async def test_a_call_that_ended_is_not_started_and_takes_nobody_s_place() -> None:
    intake = Intake(1)
    calls = [intake.call(number) for number in range(5)]
    for call in calls[1:4]:
        call.ended = True
    await intake.live(3)
    assert intake.turns == [[], [0], [4], []]
    assert intake.starts.calls == 2


async def test_who_goes_first_passes_the_queue() -> None:
    intake = Intake(1)
    for number in range(3):
        intake.call(number)
    intake.call(9, first=True)
    assert intake.turns == [[9]]
    await intake.live(4)
    assert intake.turns == [[9], [0], [1], [2], []]
    assert intake.starts.calls == 4


async def test_a_start_that_raises_keeps_nobody_else_from_starting() -> None:
    said: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    intake = Intake(2)

    def broken(call: Call) -> None:
        raise ZeroDivisionError

    intake.starts.add(Call(), broken)
    for number in range(3):
        intake.call(number)
    await intake.live(4)
    assert [number for turn in intake.turns for number in turn] == [0, 1, 2]
    assert [type(context["exception"]) for context in said] == [ZeroDivisionError]


async def test_turns_that_leave_calls_waiting_tell_how_long_a_turn_may_be() -> None:
    intake = Intake(FIRST, MOST)
    for number in range(10 * FIRST):
        intake.call(number)
    while len(intake.starts):
        await asyncio.sleep(0)
        intake.now_ns += TURN_NS // 4
    assert intake.length.now > FIRST


async def test_an_idle_loop_tells_nothing_of_turns() -> None:
    intake = Intake(1, MOST)
    for number in range(100):
        intake.call(number)
        await asyncio.sleep(0)
        intake.now_ns += 100 * TURN_NS
    assert intake.length.now == FIRST
