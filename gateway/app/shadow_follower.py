"""A follower of the ledger that has a candidate bundle decide recorded calls again, and counts what would change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from gateway.ledger.follower import Batch
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.record import Record
from gateway.ledger.vault import Vault
from gateway.observer.cells import Labels
from gateway.observer.followers import records
from gateway.observer.openmetrics import Gauge
from gateway.pipeline.kept import Kept, KeptInputs
from gateway.policy.bundle import Bundle
from gateway.policy.modes import BREAK_GLASS
from gateway.policy.shadow import Case, Judgement, ShadowEngine
from gateway.policy.shadow_report import ShadowReport

_log = logging.getLogger("gateway.policy")

UNSAMPLED = "not sampled"
NO_PREDICTION = "no prediction: its input is never kept"
_NOTHING = 2**62
"""A position that no shard reaches: without a candidate nothing is read."""


class ShadowFollower:
    """Compares from the moment a candidate starts. ``share`` is the part of the decisions that it is asked about.

    ``apply`` runs in a follower's thread, all else on the loop: a lock keeps them apart. Nothing here is on the path
    of a request, and nothing is dropped: a shadow that is slow is late.
    """

    def __init__(self, root: Path, vault: Vault, folder: Path, *, revisions: Path, share: float) -> None:
        self._root = root
        self._vault = vault
        self._folder = folder
        self._revisions = revisions
        self._below = round(share * 2**32)
        self._lock = threading.Lock()
        self._engine: ShadowEngine | None = None
        self._inputs: dict[str, tuple[ShardReader, KeptInputs]] = {}
        self._report = ShadowReport()

    @property
    def name(self) -> str:
        """Its name in logs."""
        return "shadow"

    @property
    def report(self) -> ShadowReport:
        """What was seen so far; read it, never write to it."""
        return self._report

    @property
    def deciding(self) -> bool:
        """Whether a candidate decides along now."""
        return self._engine is not None

    def adopt(self, report: ShadowReport) -> None:
        """Take over what an earlier run has counted; ``resume`` with the same candidate goes on from there."""
        self._report = report

    def start(self, candidate: Bundle, *, now_us: int) -> None:
        """Have ``candidate`` decide every call from now on, and count from zero. Raises: OSError, LedgerError."""
        with self._lock:
            self._end()
            self._report = ShadowReport(
                revision=candidate.revision, digest=candidate.digest, since_us=now_us, positions=self._ends()
            )
            self._report.write(self._folder)
            self._engine = ShadowEngine(candidate, revisions=self._revisions)

    def resume(self, candidate: Bundle) -> None:
        """Go on where the report stopped: calls recorded meanwhile are decided too."""
        with self._lock:
            self._end()
            self._engine = ShadowEngine(candidate, revisions=self._revisions)

    def forget(self) -> None:
        """End the candidate and what was counted with it. Raises: OSError."""
        with self._lock:
            self._end()
            self._report = ShadowReport()
            self._report.write(self._folder)

    def refuse(self, text: str) -> None:
        """Show why a newer candidate does not decide; "" when there is none. Raises: OSError."""
        with self._lock:
            if self._report.refused == text:
                return
            self._report.refused = text
            self._report.write(self._folder)

    def close(self) -> None:
        """End the candidate's process; the report on disk stays."""
        with self._lock:
            self._end()

    def position(self, shard: str) -> int:
        """The next sequence number that it wants of ``shard``."""
        return self._report.positions.get(shard, 0) if self.deciding else _NOTHING

    def apply(self, shard: str, batch: Batch) -> None:
        """Have the candidate decide what is in ``batch``. Raises: OSError, LedgerError; then nothing was counted."""
        with self._lock:
            if self._engine is None:
                return
            report, start = self._report, self.position(shard)
            found = [(r, k) for r, k in self._kept(shard, batch) if r.seq >= start]
            asked = [(record, kept) for record, kept in found if isinstance(kept, bytes)]
            judged = self._engine.judge([_case(record, kept) for record, kept in asked])
            for record, kept in found:
                if isinstance(kept, str):
                    report.skip(NO_PREDICTION if not record.action.startswith("inference:") else kept)
            for (record, _), judgement in zip(asked, judged, strict=True):
                model = record.model or record.asked
                report.take(judgement, tenant=record.tenant, model=model, decision_id=record.decision_id)
                _say(record, judgement)
            report.positions[shard] = batch[-1][0] + 1
            report.write(self._folder)

    def families(self) -> Iterator[Gauge]:
        """What a scrape shows. Values belong to one candidate, which is a label: they begin anew with the next."""
        report = self._report
        rev, on = report.revision, report.active
        results: dict[Labels, float] = {(rev, "compared"): report.compared} if on else {}
        results |= {(rev, cause): count for cause, count in list(report.skipped.items())} if on else {}
        yield Gauge(
            name="gateway_policy_shadow",
            help="The candidate bundle that decides recorded calls again.",
            labels=("revision", "digest"),
            cells={(rev, report.digest): 1} if on else {},
            kind="info",
        )
        yield Gauge(
            name="gateway_policy_shadow_decisions",
            help="Decisions since the candidate began: compared, or why not.",
            labels=("revision", "result"),
            cells=results,
        )
        yield Gauge(
            name="gateway_policy_shadow_changes",
            help="Decisions that the candidate makes differently.",
            labels=("revision", "kind"),
            cells={(rev, kind): report.changes.get(kind, 0) for kind in KINDS} if on else {},
        )
        yield Gauge(
            name="gateway_policy_shadow_refused",
            help="Whether a newer candidate was refused.",
            cells={(): int(bool(report.refused))} if on or report.refused else {},
        )

    def _kept(self, shard: str, batch: Batch) -> Iterator[tuple[Record, Kept]]:
        """The decisions in ``batch`` with their inputs, sampled by decision id: a repeat has an id of its own."""
        if shard not in self._inputs:
            reader = ShardReader(self._root, shard)
            self._inputs[shard] = (reader, KeptInputs(reader, self._vault))
        inputs = self._inputs[shard][1]
        for _, record in records(shard, batch):
            if record.kind == "call" and record.decision_id:
                kept = inputs.of(record)
                yield record, kept if int(record.decision_id[:8], 16) < self._below else UNSAMPLED

    def _ends(self) -> dict[str, int]:
        ends = {}
        for shard in shards(self._root):
            reader = ShardReader(self._root, shard)
            ends[shard] = reader.size()
            reader.close()
        return ends

    def _end(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        for reader, _ in self._inputs.values():
            reader.close()
        self._inputs.clear()


KINDS = ("deny_to_allow", "allow_to_deny", "obligations", "reasons", "error")
"""Every kind of change."""


def _case(record: Record, kept: bytes) -> Case:
    codes = tuple(code for code in record.reasons if code != BREAK_GLASS)
    return Case(
        input=kept.decode(), digest=record.policy_sha, allow=record.allow, codes=codes, types=record.obligations
    )


def _say(record: Record, judgement: Judgement) -> None:
    """Each change is a line in the log, which itself thins out what repeats."""
    if judgement.kind:
        facts = {"kind": judgement.kind, "checks": list(judgement.checks), "decision": record.decision_id}
        _log.warning("policy.shadow_change", extra={**facts, "tenant": record.tenant, "model": record.model})
