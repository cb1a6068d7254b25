"""Rates and quotas: all that one call needs is taken, or nothing is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from gateway.errors import PermissionDenied, Throttled
from gateway.pipeline import token_bucket
from gateway.pipeline.calendar import window
from gateway.pipeline.slots import SharedSlots, slot_name
from gateway.policy.obligations import Quota, RateLimit

_UNLOCKED = nullcontext()


class Counters:
    """The counters of all rate limits and quotas of one gateway, shared by its workers.

    Rates live as long as the machine is up, quotas in ``quotas`` as long as the file. ``clock_ns`` is monotonic
    and the same in every process, ``clock_s`` wall-clock seconds since 1970.
    """

    def __init__(
        self, *, rates: SharedSlots, quotas: SharedSlots, clock_ns: Callable[[], int], clock_s: Callable[[], float]
    ) -> None:
        self._rates = rates
        self._quotas = quotas
        self._clock_ns = clock_ns
        self._clock_s = clock_s

    def open(self) -> None:
        """Map both files. Raises: SlotsError."""
        self._rates.open()
        self._quotas.open()

    def sync(self) -> None:
        """Have the quotas on stable storage on return; blocking, for any thread. Rates need not survive."""
        self._quotas.sync()

    def close(self) -> None:
        """Write back and let go of both files."""
        self._rates.close()
        self._quotas.close()

    def take(self, rate_limits: Sequence[RateLimit], quotas: Sequence[Quota], rows: int, decision_id: str = "") -> None:
        """Take one call of ``rows`` rows out of every rate and quota, or out of none.

        Raises: Throttled, which says when to retry; PermissionDenied for a call that could never fit;
        Overloaded when the counters cannot be used.
        """
        bucket_names = [slot_name("rate", r.key, r.cost) for r in rate_limits]
        quota_names = [slot_name("quota", q.key, q.window, q.unit) for q in quotas]
        with self._quotas.locked(quota_names) if quotas else _UNLOCKED, self._rates.locked(bucket_names):
            # The clocks are read under the locks: no worker then sees a time before the last one written.
            now_ns = self._clock_ns()
            counts = self._counts(quotas, quota_names, rows, decision_id) if quotas else ()
            levels = self._levels(rate_limits, bucket_names, rows, now_ns, decision_id)
            for place, count, number, end_s in counts:
                self._quotas.put(place, count, number, end_s)
            for place, tokens, full_ns in levels:
                self._rates.put(place, tokens, now_ns, full_ns)

    def _counts(
        self, quotas: Sequence[Quota], names: Sequence[bytes], rows: int, decision_id: str
    ) -> list[tuple[int, float, int, int]]:
        """Place, new count, window and its end of every quota. Raises: as ``take``."""
        counts, now_s = [], int(self._clock_s())
        for quota, name in zip(quotas, names, strict=True):
            cost = _cost(quota.unit == "rows", rows)
            if cost > quota.limit:
                raise _never(f"{cost} {quota.unit} exceed the quota of {quota.limit}", decision_id)
            place = self._quotas.claim(name, now_s)
            count, number, end_s = self._quotas.get(place)
            current = window(quota.window, now_s)
            if current.number > number:  # a clock set back stays in the later window: it never refills
                count, (number, end_s) = 0.0, current
            if count + cost > quota.limit:
                raise Throttled(
                    f"the quota of {quota.limit} {quota.unit} per {quota.window} is used up",
                    max(1, end_s - now_s) * 1000,
                    decision_id,
                )
            counts.append((place, count + cost, number, end_s))
        return counts

    def _levels(
        self, limits: Sequence[RateLimit], names: Sequence[bytes], rows: int, now_ns: int, decision_id: str
    ) -> list[tuple[int, float, int]]:
        """Place, tokens left and time of being full again of every bucket. Raises: as ``take``."""
        levels, wait = [], 0
        for limit, name in zip(limits, names, strict=True):
            cost = _cost(limit.cost == "rows", rows)
            if cost > limit.burst:
                raise _never(f"{cost} {limit.cost} exceed the burst of {limit.burst:g}", decision_id)
            place = self._rates.claim(name, now_ns)
            tokens, at_ns, _ = self._rates.get(place)
            tokens = token_bucket.level(tokens, at_ns, now_ns, rps=limit.rps, burst=limit.burst)
            wait = max(wait, token_bucket.wait_ms(tokens, cost, rps=limit.rps))
            tokens -= cost
            levels.append((place, tokens, token_bucket.full_at_ns(tokens, now_ns, rps=limit.rps, burst=limit.burst)))
        if wait:
            raise Throttled(f"the rate limit is reached; retry in {wait} ms", wait, decision_id)
        return levels


def shared_counters(
    *, rates: Path, quotas: Path, boot: str, clock_ns: Callable[[], int], clock_s: Callable[[], float]
) -> Counters:
    """Counters in two files. ``boot`` names this run of the machine, with which its monotonic clock began."""
    return Counters(
        rates=SharedSlots(rates, epoch=boot), quotas=SharedSlots(quotas), clock_ns=clock_ns, clock_s=clock_s
    )


def _cost(by_rows: bool, rows: int) -> int:
    return max(1, rows) if by_rows else 1


def _never(detail: str, decision_id: str) -> PermissionDenied:
    # Not Throttled: a caller told to retry would do so for ever.
    return PermissionDenied(("limit_exceeded",), decision_id, detail)
