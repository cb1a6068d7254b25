"""Floods of calls that nobody vouches for: the first of each second get a record each, the rest are counted.

Whoever can send bad credentials must not be able to fill the disk. Counted, never lost: each second's rest becomes
``shed`` leaves that say how many, why, and from which network.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Mapping, Sequence

SINGLE_PER_S = 50
NETWORKS = 16
OTHERS = "others"
_SECOND_NS = 1_000_000_000


class Flood:
    """Decides which refused calls get a record of their own. For the event loop's thread.

    ``clock_ns`` is monotonic. At most ``NETWORKS`` networks are told apart in a second.
    """

    def __init__(self, clock_ns: Callable[[], int], single_per_s: int = SINGLE_PER_S) -> None:
        self._clock_ns = clock_ns
        self._single_per_s = single_per_s
        self._second = -1
        self._left = 0
        self._counted: dict[tuple[str, str], int] = {}

    def counts(self, reason: str, peer: str) -> bool:
        """Count a call that ended with ``reason`` and return True, or return False: it gets a record of its own."""
        second = self._clock_ns() // _SECOND_NS
        if second != self._second:
            self._second, self._left = second, self._single_per_s
        if self._left:
            self._left -= 1
            return False
        self.count(reason, peer)
        return True

    def overflows(self, reason: str, peer: str) -> bool:
        """Count a call that is to end with ``reason``, if this second's records are used up; False counts nothing."""
        if self._left or self._clock_ns() // _SECOND_NS != self._second:
            return False
        self.count(reason, peer)
        return True

    def count(self, reason: str, peer: str, calls: int = 1) -> None:
        """Count ``calls`` that end with ``reason``."""
        counted, key = self._counted, (reason, network(peer))
        if key not in counted and len(counted) >= NETWORKS:
            key = (reason, OTHERS)
        counted[key] = counted.get(key, 0) + calls

    def drain(self) -> Sequence[Mapping[str, str | int]]:
        """The fields of one ``shed`` leaf for each reason and network counted since the last time."""
        counted, self._counted = self._counted, {}
        return [{"reason": reason, "network": source, "count": count} for (reason, source), count in counted.items()]


@functools.lru_cache(maxsize=1024)  # parsing would be half of a refusal's cost, and a flood comes from few peers
def network(peer: str) -> str:
    """The /24 or /56 that ``peer`` is in; "" for what is no address (a Unix socket)."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return ""
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 56), strict=False))
