"""The door: while too many calls are in flight, those that come are turned away before anything is done for them.

What overload costs is the price of a refusal, and a call that was decoded, framed as an exception and explained costs
half of one that is answered. Whoever is turned away here was not authenticated, decided on or run, and is counted.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.pipeline.admission import Admission


class Door:
    """Asked for each prediction that comes. For the event loop's thread.

    ``counted`` writes down one from that peer who is turned away; False for one who is to be refused with a record.
    """

    def __init__(self, admission: Admission, counted: Callable[[str], bool]) -> None:
        self._admission = admission
        self._counted = counted

    @property
    def retry_after_ms(self) -> int:
        """What those who are turned away are told to wait."""
        return self._admission.retry_after_ms

    def full(self, running: int, left_ns: int | None) -> bool:
        """Whether a call is one too many while ``running`` others are handled or wait to be, or would have to wait
        for them longer than its caller does."""
        return self._admission.full(running, left_ns)

    def turns_away(self, peer: str) -> bool:
        """Count a call from ``peer`` that is one too many as turned away; False for one who is to be heard, which is
        to say refused by admission, with a record."""
        if not self._counted(peer):
            return False
        self._admission.shed += 1
        return True
