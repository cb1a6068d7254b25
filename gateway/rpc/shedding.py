"""Predictions that come while there are too many: turned away before anything is done for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway.errors import Overloaded
from gateway.rpc.status import refusal
from gateway.transport.seam import Entry, Refused, Shed


class Door(NamedTuple):
    """While too many calls are in flight, those that come are turned away before anything is done for them.

    What overload costs is the price of a refusal, and a call that was decoded, framed as an exception and explained
    costs half of one that is answered. Whoever is turned away here was not authenticated, decided on or run.

    ``full`` says whether a call is one too many beside so many others, for a caller who will wait so many nanoseconds
    (see ``Admission.full``). ``counted`` writes down one of a peer's who is turned away; False for one who is to be
    heard and then refused by admission, with a record (see ``Recorder.shed``).
    """

    full: Callable[[int, int | None], bool]
    counted: Callable[[str], bool]
    retry_after_ms: int


def shedding(door: Door) -> Shed:
    """Turns calls away at ``door``, with one refusal for all."""
    full, counted, retry_after_ms = door
    error = Overloaded("more calls are in flight than can be answered in time; retry later", retry_after_ms)
    refused, usual, excess = refusal(error, call_id=""), Entry.USUAL, Entry.EXCESS

    def shed(peer: str, running: int, left_ns: int | None) -> Refused | Entry:
        if not full(running, left_ns):
            return usual
        return refused if counted(peer) else excess

    return shed
