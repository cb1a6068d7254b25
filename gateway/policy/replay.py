"""Replay: decides recorded calls again with a candidate bundle, and says first how much of them it could see.

Never invents a value: a record whose input was not kept, or lacks a path that the candidate reads, is counted as not
replayable, by cause. Never contacts a model. Time is the recorded one.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from gateway.ledger.record import Record
from gateway.malformed import MALFORMED
from gateway.policy import slices
from gateway.policy.bundle import Bundle
from gateway.policy.comparison import ChangeKind, compare
from gateway.policy.input import encode
from gateway.policy.interpreter import Interpreter
from gateway.policy.modes import BREAK_GLASS
from gateway.policy.reads import Reads
from gateway.policy.verdict import Verdict, failed, read
from gateway.types import Obligation

Kept: TypeAlias = bytes | str
"""The policy input kept with a record; as text, why there is none."""

Stated: TypeAlias = Callable[[str, bytes, tuple[str, ...]], frozenset[Obligation] | None]
"""The obligations that a revision (its digest) stated for an input, which were of these types; None if unknown."""


@dataclass(frozen=True, slots=True)
class Changed:
    """One decision that the candidate makes differently. ``checks`` are the codes or types that came or went."""

    kind: ChangeKind
    prediction_id: str
    decision_id: str
    tenant: str
    model: str
    checks: tuple[str, ...]


@dataclass(slots=True)
class ReplayReport:
    """Coverage, then changes. ``others`` are decisions on calls that are no predictions, by action group: nothing of
    their input is ever kept, so they are no part of ``records``."""

    records: int = 0
    replayed: int = 0
    evaluated: int = 0
    others: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    tenants: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    lines_run: int = 0
    lines_idle: dict[str, tuple[int, ...]] = field(default_factory=dict)
    changed: list[Changed] = field(default_factory=list)

    def groups(self) -> list[tuple[ChangeKind, str, str, str, int, str]]:
        """Changes as (kind, check, tenant, model, how many, a decision id), most frequent first."""
        counts: Counter[tuple[ChangeKind, str, str, str]] = Counter()
        example: dict[tuple[ChangeKind, str, str, str], str] = {}
        for change in self.changed:
            for check in change.checks or ("",):
                group = (change.kind, check, change.tenant, change.model)
                counts[group] += 1
                example.setdefault(group, change.decision_id)
        return [(*group, count, example[group]) for group, count in counts.most_common()]


def replay(
    records: Iterable[tuple[Record, Kept]], candidate: Bundle, incumbents: Stated = lambda _digest, _kept, _types: None
) -> ReplayReport:
    """Decide every record again by its slice. Equal slices are evaluated once: a decision depends on nothing else.

    ``incumbents`` knows what the revision that decided a record obliged to (see ``incumbents``).
    """
    report = ReplayReport()
    engine = Interpreter(candidate.modules, candidate.data)
    engine.start_coverage()
    known: dict[Kept, Verdict | str] = {}
    for record, kept in records:
        if not record.decision_id:
            continue  # it ended before a decision: nothing to compare
        group = record.action.partition(":")[0]
        if isinstance(kept, str) and group != "inference":
            report.others[group] += 1
            continue
        report.records += 1
        answer = known.get(kept)
        if answer is None:
            answer = known[kept] = decide_again(engine, candidate.reads, kept)
        if isinstance(answer, str) or isinstance(kept, str):
            report.skipped[str(answer)] += 1
            continue
        report.replayed += 1
        report.tenants[record.tenant] += 1
        report.models[record.model or record.asked] += 1
        report.actions[record.action] += 1
        change = changed(record, answer, functools.partial(incumbents, record.policy_sha, kept, record.obligations))
        if change is not None:
            report.changed.append(change)
    report.evaluated = sum(isinstance(answer, Verdict) for answer in known.values())
    for file, (ran, idle) in engine.coverage().items():
        report.lines_run += len(ran)
        report.lines_idle[file] = tuple(sorted(idle - ran))
    return report


def decide_again(engine: Interpreter, reads: Reads | None, kept: Kept) -> Verdict | str:
    """The verdict of a candidate that reads ``reads``, or why there is none."""
    if isinstance(kept, str):
        return kept
    try:
        document = msgspec.json.decode(kept, type=dict[str, object])
    except MALFORMED:
        return "input not readable"
    if document.get("v", 1) != 1:
        return f"input of schema version {document['v']}"
    missing = next(slices.lacks(document, reads), None)
    if missing is not None:
        return f"candidate reads {missing}, which the record lacks"
    try:
        return read(engine.evaluate(encode(slices.without_marks(document)).decode()))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # an engine panic is not an Exception; it is a denial here too
        return failed(error)


def changed(
    record: Record, verdict: Verdict, before: Callable[[], frozenset[Obligation] | None] = lambda: None
) -> Changed | None:
    """How ``verdict`` differs from the recorded decision; None when it does not. ``before``: see ``compare``."""
    warnings = {reason.code for reason in verdict.reasons if reason.severity == "warn"}
    codes = set(record.reasons) - warnings - {BREAK_GLASS}  # a record does not tell the two apart
    change = compare(record.allow, codes, record.obligations, verdict, before)
    if change is None:
        return None
    model = record.model or record.asked
    return Changed(change[0], record.prediction_id, record.decision_id, record.tenant, model, change[1])
