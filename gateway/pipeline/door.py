"""The door: while too many calls are in flight, those that come are turned away before anything is done for them.

What overload costs is the price of a refusal, and a call that was decoded, framed as an exception and explained costs
half of one that is answered. Whoever is turned away here was not authenticated, decided on or run, and is counted.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.pipeline.admission import Admission


class Door:
    """Asked for each prediction that comes. For the event loop's thread.

    ``counted`` writes down one from that peer who is turned away; False lets him in, to be refused with a record.
    """

    def __init__(self, admission: Admission, counted: Callable[[str], bool]) -> None:
        self._admission = admission
        self._counted = counted

    @property
    def retry_after_ms(self) -> int:
        """What those who are turned away are told to wait."""
        return self._admission.retry_after_ms

    def closed(self, peer: str, running: int) -> bool:
        """Whether a call from ``peer`` is turned away while ``running`` others are handled, and that is counted."""
        if running < self._admission.limit or not self._counted(peer):
            return False
        self._admission.shed += 1
        return True
