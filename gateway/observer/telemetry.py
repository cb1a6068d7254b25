"""What the trace delivery sends: the spans of the calls that sampling keeps, and of the gateway's own changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gateway.ledger import events
from gateway.ledger.errors import LedgerCorrupt
from gateway.ledger.record import Record, decode
from gateway.observer.cells import Counter
from gateway.observer.sampling import RULES, Sampler
from gateway.observer.spans import SPAN_EVENTS, Span, event_span, spans_of


class SpanMaker:
    """Makes spans of leaves. ``kept`` is told each call whose trace is kept (for exemplars)."""

    def __init__(self, sampler: Sampler, kept: Callable[[Record], None], *, duplicate: bool = False) -> None:
        self._sampler = sampler
        self._kept = kept
        self._duplicate = duplicate
        self._rules = dict.fromkeys(RULES, 0)

    def make(self, shard: str, seq: int, leaf: bytes) -> Sequence[Span]:
        """The spans of this leaf; none for a dropped trace, a beat, or a leaf that cannot be read."""
        try:
            record = decode(leaf)
            if record.kind in SPAN_EVENTS:
                return (event_span(events.decode(leaf)),)
        except LedgerCorrupt:
            return ()
        if record.kind != "call":
            return ()
        rule = self._sampler.rule(record)
        if not rule or not _valid(record):
            return ()
        self._rules[rule] += 1
        self._kept(record)
        return spans_of(record, rule, duplicate=self._duplicate)

    def time_us(self, leaf: bytes) -> int:
        """The time of the leaf."""
        return decode(leaf).t_us

    def families(self) -> Iterator[Counter]:
        """Traces kept by rule, and dropped by a cap."""
        kept = Counter("gateway_traces_kept", "Traces kept, by the rule that kept them.", ("rule",))
        for rule, count in self._rules.items():
            kept.add((rule,), count)
        yield kept
        capped = Counter("gateway_traces_capped", "Traces that a rule would have kept and a cap dropped.")
        capped.add((), self._sampler.capped)
        yield capped


def _valid(record: Record) -> bool:
    try:
        return int(record.trace, 16) != 0 and int(record.span, 16) != 0 and int(record.parent or "1", 16) != 0
    except ValueError:
        return False
