"""Predictions that come while there are too many: turned away before anything is done for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway.errors import Overloaded
from gateway.rpc.status import refusal
from gateway.transport.seam import Entry, Refused

_USUAL, _EXCESS = Entry.USUAL, Entry.EXCESS  # looked up once: to reach a member of an enumeration takes 0.1 us


class Door(NamedTuple):
    """While too many calls are in flight, those that come are turned away before anything is done for them.

    What overload costs is the price of a refusal, and a call that was decoded, framed as an exception and explained
    costs half of one that is answered. Whoever is turned away here was not authenticated, decided on or run.

    ``full`` says whether a call is one too many beside so many others, for a caller who will wait so many nanoseconds
    (see ``Admission.full``). ``counted`` writes down one of a peer's who is turned away; False for one who is to be
    heard and then refused by admission, with a record (see ``Recorder.shed``). ``also`` writes down so many more
    (see ``Recorder.shed_more``).
    """

    full: Callable[[int, int | None], bool]
    counted: Callable[[str], bool]
    also: Callable[[str, int], None]
    retry_after_ms: int


class Shedding:
    """Turns calls away at ``door``, with one refusal for all. See ``Shed``."""

    def __init__(self, door: Door) -> None:
        self._full, self._counted, self.again = door.full, door.counted, door.also
        error = Overloaded("more calls are in flight than can be answered in time; retry later", door.retry_after_ms)
        self._refused = refusal(error, call_id="")

    def __call__(self, peer: str, running: int, left_ns: int | None) -> Refused | Entry:
        if not self._full(running, left_ns):
            return _USUAL
        return self._refused if self._counted(peer) else _EXCESS
