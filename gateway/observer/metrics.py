"""Metrics as a fold over records: every number on a dashboard equals a count of the ledger.

Pure: no clock, no file. ``dump`` and ``load`` carry the cells over a restart, together with the position
that the caller keeps, so that counters neither reset nor count twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from gateway.ledger.record import PHASES, Record
from gateway.observer.beats import Beats
from gateway.observer.cells import (
    LATENCY_US,
    OTHER,
    POWERS_OF_TWO,
    Bounded,
    Counter,
    Exemplar,
    Histogram,
    Labels,
)
from gateway.observer.conventions import qualified
from gateway.observer.triton import TritonAliases

Snapshot: TypeAlias = Mapping[str, list[tuple[Labels, list[int]]]]


class Metrics:
    """The families that are computed from records, counted since ``since_us``. One thread folds and renders.

    Model and version come from resolved servables, tenants are at most ``max_tenants`` (or exactly ``tenants``),
    what exceeds a bound is ``_OTHER``: a caller cannot mint a series. A principal is never a label.
    """

    def __init__(self, *, max_tenants: int = 200, tenants: Iterable[str] = (), triton: bool = False) -> None:
        us = 1_000_000
        model = ("model", "version")
        self.calls = Histogram(
            "rpc_server_call_duration_seconds",
            "Duration of calls, from receipt until the record was sealed.",
            ("rpc_method", "rpc_status_code"),
            bounds=LATENCY_US,
            scale=us,
        )
        self.requests = Counter("gateway_requests", "Recorded calls.", (*model, "tenant", "decision", "code"))
        self.outcomes = Counter(
            "gateway_outcomes", "How recorded calls ended, and where.", ("outcome", "stage", "error")
        )
        self.rows = Counter("gateway_rows", "Rows of answered predictions.", (*model, "tenant"))
        self.request_bytes = Counter("gateway_request_bytes", "Bytes of requests.", model)
        self.response_bytes = Counter("gateway_response_bytes", "Bytes of answers.", model)
        self.stages = Histogram(
            "gateway_stage_seconds",
            "Time that calls spent in each phase.",
            ("stage",),
            bounds=LATENCY_US,
            scale=us,
        )
        self.queue = Histogram("gateway_queue_seconds", "Time in the batch queue.", model, bounds=LATENCY_US, scale=us)
        self.inference = Histogram(
            "gateway_inference_seconds", "Time in the model's run.", model, bounds=LATENCY_US, scale=us
        )
        self.eval = Histogram(
            "gateway_policy_eval_seconds",
            "Time until a decision, by whether it came from the cache.",
            ("engine", "cached"),
            bounds=LATENCY_US,
            scale=us,
        )
        self.batches = Histogram(
            "gateway_batch_size", "Rows of the batch that a call was part of.", model, bounds=POWERS_OF_TWO
        )
        self.decisions = Counter(
            "gateway_policy_decisions",
            "Policy decisions by the rule that gave the first reason.",
            ("rule", "decision", "effect", "revision"),
        )
        self.expired = Counter("gateway_deadline_exceeded", "Calls whose deadline passed.", ("phase",))
        self.shed = Counter("gateway_recorded_shed", "Recorded calls that were refused for load or rate.", ("reason",))
        self.records = Counter("gateway_ledger_records", "Records in the ledger's shards.", ("shard", "kind"))
        self.beats = Beats()
        self.triton = TritonAliases()
        self._with_triton = triton
        self._models, self._versions = Bounded(500), Bounded(1000)
        self._tenants = Bounded(max_tenants, tenants)
        self._methods, self._shards, self._kinds = Bounded(100), Bounded(1000), Bounded(50)
        self._rules, self._effects, self._revisions = Bounded(500), Bounded(10), Bounded(50)
        self._errors = Bounded(100)
        self.since_us = 0
        self._places: dict[tuple[str, ...], tuple[Labels, str, str]] = {}

    def families(self) -> Iterator[Counter | Histogram]:
        """All families, in the order of the page."""
        for value in vars(self).values():
            if isinstance(value, Counter | Histogram):
                yield value
        yield from self.beats.families()

    def _kept(self) -> Iterator[Counter | Histogram]:
        yield from self.families()
        yield from self.triton.counters()

    def apply(self, record: Record) -> None:
        """Fold one record."""
        if record.t_us and (not self.since_us or record.t_us < self.since_us):
            self.since_us = record.t_us
        self.records.add((self._shards(record.shard), self._kinds(record.kind)))
        if record.kind != "call":
            return
        model, tenant, method = self._place(record)
        code = record.status
        self.calls.observe((method, code), record.dur_us)
        self.requests.add((*model, tenant, decision_of(record), code))
        self.outcomes.add((record.outcome, record.stage, self._errors(record.error)))
        self.request_bytes.add(model, record.in_b)
        if record.outcome == "answered":
            self.rows.add((*model, tenant), record.rows)
            self.response_bytes.add(model, record.out_b)
        if record.outcome == "expired":
            self.expired.add((record.stage,))
        if record.error in ("overloaded", "throttled"):
            self.shed.add((record.error,))
        if self._with_triton:
            self.triton.apply(record, model)
        self._apply_decision(record)
        self._apply_phases(record, model)

    def _apply_decision(self, record: Record) -> None:
        if not record.decision_id:
            return
        rule = self._rules(record.reasons[0] if record.reasons else "none")
        effect = self._effects(record.effect.partition(":")[0])
        revision = self._revisions(record.policy_rev)
        self.decisions.add((rule, "allow" if record.allow else "deny", effect, revision))

    def _apply_phases(self, record: Record, model: Labels) -> None:
        for phase, spent in phase_durations(record):
            self.stages.observe(_PHASE_LABELS[phase], spent)
            if phase == "queue":
                self.queue.observe(model, spent)
            elif phase == "infer":
                self.inference.observe(model, spent)
            elif phase == "decide" and record.decision_id:
                self.eval.observe((record.engine, "true" if record.cached else "false"), spent)
        if record.batch_n > 0:
            self.batches.observe(model, record.batch_n)

    def exemplify(self, record: Record) -> None:
        """Let the kept trace of ``record`` stand as an exemplar in the buckets it fell into."""
        if record.kind != "call" or not record.trace:
            return
        model, _, method = self._place(record)
        self.calls.exemplify(
            (method, record.status), Exemplar(record.trace, record.dur_us, record.t_us + record.dur_us)
        )
        for phase, spent in phase_durations(record):
            if phase == "infer":
                at = record.t_us + record.ph[phase]
                self.inference.exemplify(model, Exemplar(record.trace, spent, at))

    def _place(self, record: Record) -> tuple[Labels, str, str]:
        """The labels (model and version), tenant, method of a call; remembered, for traffic repeats itself."""
        said = (record.model, record.version, record.model_sha, record.tenant, record.method, record.action)
        place = self._places.get(said)
        if place is None:
            if len(self._places) >= 10_000:
                self._places.clear()
            method = self._methods(qualified(record.method, record.action))
            place = self._places[said] = (self._model(record), self._tenants(record.tenant), method)
        return place

    def _model(self, record: Record) -> Labels:
        if not record.model:
            return ("", "")
        if not record.model_sha:  # a name that resolved to nothing is the caller's word
            return (OTHER, OTHER)
        return (self._models(record.model), self._versions(record.version))

    def _bounds(self) -> Iterator[tuple[str, Bounded]]:
        for name, value in vars(self).items():
            if isinstance(value, Bounded):
                yield name, value

    def dump(self) -> Snapshot:
        """Everything needed to go on after a restart."""
        state = {family.name: family.dump() for family in self._kept()}
        for name, bounded in self._bounds():
            state[name] = [((value,), []) for value in bounded.dump()]
        state["since_us"] = [((), [self.since_us])]
        state["beats"] = self.beats.dump()
        return state

    def load(self, state: Snapshot) -> None:
        """Take over a dump of this or an older version; families it does not know start at zero."""
        self._places.clear()
        for family in self._kept():
            family.load(state.get(family.name, []))
        for name, bounded in self._bounds():
            bounded.load(key[0] for key, _ in state.get(name, []))
        self.beats.load(state.get("beats", []))
        self.since_us = next((values[0] for _, values in state.get("since_us", [])), 0)


def decision_of(record: Record) -> str:
    """ "allow", "deny", or "none" where it ended before a decision."""
    if not record.decision_id:
        return "none"
    return "allow" if record.allow else "deny"


def phase_durations(record: Record) -> list[tuple[str, int]]:
    """Each phase reached and the microseconds spent in it, never negative.

    ``ph`` holds the ends, measured from receipt; a phase begins where the one before it ended.
    """
    before, ends, spent = 0, record.ph, []
    for phase in PHASES:
        end = ends.get(phase)
        if end is not None:
            if end > before:
                spent.append((phase, end - before))
                before = end
            else:
                spent.append((phase, 0))
    return spent


_PHASE_LABELS: Mapping[str, Labels] = {phase: (phase,) for phase in PHASES}
