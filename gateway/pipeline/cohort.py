"""Predictions that come in one turn of the event loop begin together, after all of them were decoded.

The way of a call is more code than a processor keeps close: a call that goes all of it in one go pushes out what the
next one needs first. Where all calls of a turn go a part of the way one after the other, the processor knows that part
for all but the first of them: cohort scheduling (Larus and Parkes, USENIX ATC 2002).
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Member(Protocol):
    """What can begin. It may be ``gone`` before that."""

    gone: bool

    def begin(self) -> None: ...


class Cohort:
    """Begins its members in the next turn of the event loop, in the order in which they came. For the loop's thread."""

    __slots__ = ("_members",)

    def __init__(self) -> None:
        self._members: list[Member] = []

    def add(self, member: Member) -> None:
        """Begin ``member`` with the others, unless it is gone by then."""
        if not self._members:
            asyncio.get_running_loop().call_soon(self._begin)
        self._members.append(member)

    def _begin(self) -> None:
        waiting, self._members = iter(self._members), []
        try:
            for member in waiting:
                if not member.gone:
                    member.begin()
        finally:  # whatever is wrong with one of them, the others begin
            for member in waiting:
                self.add(member)
