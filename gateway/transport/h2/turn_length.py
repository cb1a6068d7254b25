"""How many handlers one turn of the event loop starts, learnt from what turns took. Pure.

What a turn starts is what the next caller waits for before anybody reads what he sent: half of it on average before he
is told that there is no room, and somewhat more with the reading. Each turn also reads and writes every connection, and
the fewer it starts, the more of that each call pays for. So a turn is to take a certain time, whatever the machine.
"""

from __future__ import annotations

TURN_NS = 6_000_000
"""What a busy turn is to take. A refusal waits for some two thirds of it, and is to take less than 5 ms."""

FIRST, LEAST, MOST = 32, 16, 128
_QUICKEST_NS = 1_000


class TurnLength:
    """``now`` handlers are started in a turn, between ``least`` and ``most``; ``FIRST`` before anything is known."""

    __slots__ = ("_call_ns", "_least", "_most", "_turn_ns", "now")

    def __init__(self, turn_ns: int = TURN_NS, *, least: int = LEAST, most: int = MOST) -> None:
        self._turn_ns = turn_ns
        self._least = least
        self._most = most
        self._call_ns = turn_ns // FIRST
        self.now = max(least, min(most, FIRST))

    def took(self, turn_ns: int, calls: int) -> None:
        """A turn that started ``calls``, at least one, took ``turn_ns`` until the next one could begin."""
        call_ns = min(turn_ns // calls, 4 * self._call_ns)  # a collection or a sleeping machine is no turn's fault
        self._call_ns = max(self._call_ns + (call_ns - self._call_ns) // 8, _QUICKEST_NS)
        self.now = max(self._least, min(self._most, self._turn_ns // self._call_ns))
