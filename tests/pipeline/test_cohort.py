"""Members of a cohort begin together in the next turn, in order; one that is gone or breaks holds nobody up."""

from __future__ import annotations

import asyncio

import pytest

from gateway.pipeline.cohort import Cohort


class Member:
    """Writes its number down when it begins."""

    def __init__(self, number: int, begun: list[int]) -> None:
        self.number = number
        self.begun = begun
        self.gone = False

    def begin(self) -> None:
        self.begun.append(self.number)


class Inviting(Member):
    """Brings another one along when it begins."""

    def __init__(self, number: int, begun: list[int], cohort: Cohort) -> None:
        super().__init__(number, begun)
        self.cohort = cohort

    def begin(self) -> None:
        super().begin()
        self.cohort.add(Member(self.number + 100, self.begun))


class Broken(Member):
    """Breaks when it begins."""

    def begin(self) -> None:
        super().begin()
        raise ValueError(self.number)


async def test_members_begin_in_the_next_turn_in_order() -> None:
    cohort, begun = Cohort(), list[int]()
    for number in range(4):
        cohort.add(Member(number, begun))
    assert begun == []
    await asyncio.sleep(0)
    assert begun == [0, 1, 2, 3]


async def test_who_is_gone_by_then_does_not_begin() -> None:
    cohort, begun = Cohort(), list[int]()
    members = [Member(number, begun) for number in range(3)]
    for member in members:
        cohort.add(member)
    members[1].gone = True
    await asyncio.sleep(0)
    assert begun == [0, 2]


async def test_who_comes_while_others_begin_waits_for_the_turn_after() -> None:
    cohort, begun = Cohort(), list[int]()
    cohort.add(Inviting(0, begun, cohort))
    cohort.add(Member(1, begun))
    await asyncio.sleep(0)
    assert begun == [0, 1]
    await asyncio.sleep(0)
    assert begun == [0, 1, 100]


@pytest.mark.parametrize("place", range(3))
async def test_one_that_breaks_holds_nobody_up(place: int) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about["exception"]))
    cohort, begun = Cohort(), list[int]()
    for number in range(3):
        cohort.add((Broken if number == place else Member)(number, begun))
    for _ in range(2):
        await asyncio.sleep(0)
    assert begun == [0, 1, 2]
    assert [str(error) for error in complaints] == [str(place)]
