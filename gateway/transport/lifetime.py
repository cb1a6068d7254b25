"""When a connection must end: it never spoke, it idles, it is old, it pings too often. Pure: time is an argument.

The rules are gRPC's: keep-alive enforcement of gRFC A8, connection age of gRFC A9.
"""

from __future__ import annotations

import enum

from gateway.transport.seam import Limits

_MAX_STRIKES = 2  # gRPC's own tolerance
_SETTINGS_PER_CALL = 100
_ACK_S = 1.0  # a drained peer that does not answer our ping for so long is not there


class Verdict(enum.Enum):
    """What to do with a connection."""

    KEEP = "keep"
    DRAIN = "drain"  # say GOAWAY, let its calls finish
    CLOSE = "close"  # end it now


class Lifetime:
    """The times of one connection, in nanoseconds of a monotonic clock.

    ``jitter`` in [0, 1) spreads the ends of connections that began together over a tenth of their age.
    """

    __slots__ = (
        "_age_ns",
        "_draining_ns",
        "_grace_s",
        "_idle_ns",
        "_limits",
        "_opened_ns",
        "_ping_ns",
        "_settings",
        "_strikes",
    )

    def __init__(self, limits: Limits, now_ns: int, jitter: float) -> None:
        self._limits = limits
        self._opened_ns = self._idle_ns = now_ns
        self._age_ns = _ns(limits.max_age_s * (1 + jitter / 10))
        self._draining_ns: int | None = None
        self._grace_s = limits.max_age_grace_s
        self._ping_ns: int | None = None
        self._strikes = 0
        self._settings = 0

    def look(self, now_ns: int, *, greeted: bool, calls: int) -> Verdict:
        """Judge the connection. ``greeted``: preface and acknowledgement have come. ``calls``: how many are open."""
        if calls:
            self._idle_ns = now_ns
        if self._draining_ns is not None and (greeted or not calls):
            return _if(self._grace_s if calls else _ACK_S, now_ns - self._draining_ns, Verdict.CLOSE)
        if not greeted:
            return _if(self._limits.handshake_s, now_ns - self._opened_ns, Verdict.CLOSE)
        if self._age_ns and now_ns - self._opened_ns >= self._age_ns:
            return Verdict.DRAIN
        return Verdict.KEEP if calls else _if(self._limits.idle_s, now_ns - self._idle_ns, Verdict.DRAIN)

    def draining(self, now_ns: int, grace_s: float) -> None:
        """GOAWAY was said; calls have ``grace_s`` from now, 0 for ever."""
        self._draining_ns, self._grace_s = now_ns, grace_s

    def ping(self, now_ns: int, *, spoke: bool) -> Verdict:
        """A ping came; ``spoke`` if we sent anything for a call since the last one, which forgives."""
        last, self._ping_ns = self._ping_ns, now_ns
        if spoke:
            self._strikes = 0
        elif last is not None and now_ns - last < _ns(self._limits.min_ping_interval_s):
            self._strikes += 1
        return Verdict.CLOSE if self._strikes > _MAX_STRIKES else Verdict.KEEP

    def settings(self, *, spoke: bool) -> Verdict:
        """SETTINGS came, which each cost us an answer."""
        self._settings = 0 if spoke else self._settings + 1
        return Verdict.CLOSE if self._settings > _SETTINGS_PER_CALL else Verdict.KEEP


def _if(limit_s: float, passed_ns: int, verdict: Verdict) -> Verdict:
    return verdict if limit_s and passed_ns >= _ns(limit_s) else Verdict.KEEP


def _ns(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
