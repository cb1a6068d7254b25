"""Tail sampling: keep or drop a trace when everything about its request is known, from the record alone.

Rules, in this order; the first that matches names the trace: ``upstream``, ``setting``, ``shed``, ``deadline``,
``error``, ``deny``, ``slow``, ``ratio``. A cap stands over all, and a lower one over refusals and expiries, for a
storm makes many. Time is the records' own, so a replay after an outage is sampled like the traffic it was.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from gateway.ledger.record import Record
from gateway.observer.conventions import SPAN_ERRORS

Trust: TypeAlias = Literal["always", "authenticated", "never"]

RULES = ("upstream", "setting", "shed", "deadline", "error", "deny", "slow", "ratio")


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What to keep. ``ratio`` is of trace ids; with ``parent_based`` a caller that did not sample is not sampled by
    ratio either. Caps are traces a second. ``off`` keeps nothing."""

    off: bool = False
    ratio: float = 1.0
    parent_based: bool = True
    trust: Trust = "authenticated"
    per_second: int = 200
    storm_per_second: int = 20


def policy_of(environ: Mapping[str, str], base: Policy) -> Policy:
    """``base`` changed by ``OTEL_TRACES_SAMPLER`` and ``OTEL_TRACES_SAMPLER_ARG``, with their usual meaning for the
    ratio; denials, errors and slow calls are kept besides, unless it is ``always_off``.

    Raises: ValueError for a sampler that does not exist or a ratio that is none.
    """
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip()
    if not name:
        return base
    parent_based = name.startswith("parentbased_")
    kind = name.removeprefix("parentbased_")
    if kind == "always_on":
        return msgspec.structs.replace(base, ratio=1.0, parent_based=parent_based)
    if kind == "always_off":
        return msgspec.structs.replace(base, ratio=0.0, parent_based=parent_based, off=not parent_based)
    if kind == "traceidratio":
        ratio = _ratio(environ.get("OTEL_TRACES_SAMPLER_ARG", "") or "1")
        return msgspec.structs.replace(base, ratio=ratio, parent_based=parent_based)
    raise ValueError(
        f"OTEL_TRACES_SAMPLER={name!r} is unknown: use always_on, always_off, traceidratio, "
        "or one of these with parentbased_ before it"
    )


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG={text!r} is no ratio between 0 and 1")
    return ratio


class Sampler:
    """Decides trace by trace. ``capped`` counts what a cap dropped although a rule would have kept it."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._threshold = round((1.0 - policy.ratio) * 2**56)
        self._slow: dict[str, Tail99] = {}
        self._second = -1
        self._kept = 0
        self._storm = 0
        self.capped = 0

    def rule(self, record: Record) -> str:
        """The rule that keeps this call's trace, "" to drop it."""
        slow = self._is_slow(record)
        if self._policy.off or len(record.trace) != 32:
            return ""
        found = self._match(record, slow)
        if not found:
            return ""
        second = record.t_us // 1_000_000
        if second != self._second:
            self._second, self._kept, self._storm = second, 0, 0
        storm = found in ("shed", "deadline")
        if self._kept >= self._policy.per_second or (storm and self._storm >= self._policy.storm_per_second):
            self.capped += 1
            return ""
        self._kept += 1
        self._storm += storm
        return found

    def _match(self, record: Record, slow: bool) -> str:
        upstream = bool(record.parent)
        sampled = record.flags[-1:] in _ODD
        if upstream and sampled and self._policy.parent_based and self._trusted(record):
            return "upstream"
        if sampled and not upstream:  # nobody but a trace setting marks a call that has no caller's trace
            return "setting"
        if record.status == "RESOURCE_EXHAUSTED":
            return "shed"
        if record.outcome == "expired" or record.status == "DEADLINE_EXCEEDED":
            return "deadline"
        if record.status in SPAN_ERRORS:
            return "error"
        if record.outcome == "denied":
            return "deny"
        if slow:
            return "slow"
        if upstream and not sampled and self._policy.parent_based:
            return ""
        return "ratio" if int(record.trace[18:], 16) >= self._threshold else ""

    def _trusted(self, record: Record) -> bool:
        trust = self._policy.trust
        return trust == "always" or (trust == "authenticated" and record.auth not in ("", "none"))

    def _is_slow(self, record: Record) -> bool:
        if record.outcome != "answered":
            return False
        tail = self._slow.get(record.model)
        if tail is None:
            tail = self._slow[record.model] = Tail99()
        return tail.exceeds(record.dur_us)


_ODD = frozenset("13579bdf")
_EDGES = tuple(round(10 * 1.1**n) for n in range(170))  # 10 us to 108 s, each a tenth above the one before


class Tail99:
    """A rolling 99th percentile to within a tenth, over about the last ten thousand values."""

    __slots__ = ("_bins", "_count", "_limit")

    def __init__(self) -> None:
        self._bins = [0] * (len(_EDGES) + 1)
        self._count = 0
        self._limit = 2**62

    def exceeds(self, value: int) -> bool:
        """Whether ``value`` lies above the percentile of what came before; never among the first five hundred."""
        above = value > self._limit
        self._bins[bisect_left(_EDGES, value)] += 1
        self._count += 1
        if self._count % 500 == 0:
            self._update()
        return above

    def _update(self) -> None:
        rest = sum(self._bins) // 100
        for index in range(len(_EDGES), -1, -1):
            rest -= self._bins[index]
            if rest < 0:
                self._limit = _EDGES[min(index, len(_EDGES) - 1)]
                break
        if self._count >= 10_000:
            self._bins = [count // 2 for count in self._bins]
            self._count = 5_000
