"""What a shadow has seen so far: coverage first, then what would change. Kept on disk beside the projections."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from gateway.malformed import MALFORMED
from gateway.policy.shadow import Judgement

FILE = "shadow.json"
MAX_GROUPS = 1_000
"""Groups that are told apart; what comes later is still counted in ``changes``."""


class Group(msgspec.Struct, kw_only=True):
    """Decisions that change alike; ``example`` is the decision id of the first."""

    kind: str
    check: str
    tenant: str
    model: str
    count: int = 0
    example: str = ""


class ShadowReport(msgspec.Struct, kw_only=True):
    """Of ``seen`` recorded decisions ``compared`` were decided again, since ``since_us``; ``skipped`` says why others
    were not. ``positions`` are the next sequence numbers of the shards. ``refused`` tells why a newer candidate is not
    the one that decides. ``skipped`` and ``changes`` add up: ``seen`` is ``compared`` and all of ``skipped``."""

    revision: str = ""
    digest: str = ""
    since_us: int = 0
    seen: int = 0
    compared: int = 0
    skipped: dict[str, int] = {}
    changes: dict[str, int] = {}
    groups: list[Group] = []
    positions: dict[str, int] = {}
    refused: str = ""

    @property
    def active(self) -> bool:
        """Whether a candidate decides along."""
        return bool(self.digest)

    @property
    def coverage(self) -> float:
        """Share of the decisions seen that the candidate decided too."""
        return self.compared / self.seen if self.seen else 0.0

    def skip(self, cause: str) -> None:
        """Count a decision that the candidate was not, or could not be, asked about."""
        self.seen += 1
        self.skipped[cause] = self.skipped.get(cause, 0) + 1

    def take(self, judgement: Judgement, *, tenant: str, model: str, decision_id: str) -> None:
        """Count one judgement."""
        if judgement.skipped:
            self.skip(judgement.skipped)
            return
        self.seen += 1
        self.compared += 1
        if not judgement.kind:
            return
        self.changes[judgement.kind] = self.changes.get(judgement.kind, 0) + 1
        for check in judgement.checks or ("",):
            group = self._group(judgement.kind, check, tenant, model)
            if group is not None:
                group.count += 1
                group.example = group.example or decision_id

    def write(self, folder: Path) -> None:
        """Replace the report in ``folder``. Raises: OSError."""
        draft = folder / f".{FILE}.{os.getpid()}"
        draft.write_bytes(msgspec.json.encode(self))
        draft.replace(folder / FILE)

    def _group(self, kind: str, check: str, tenant: str, model: str) -> Group | None:
        for group in self.groups:
            if (group.kind, group.check, group.tenant, group.model) == (kind, check, tenant, model):
                return group
        if len(self.groups) >= MAX_GROUPS:
            return None
        self.groups.append(Group(kind=kind, check=check, tenant=tenant, model=model))
        return self.groups[-1]


def read_report(folder: Path) -> ShadowReport | None:
    """The report in ``folder``; None when there is none that can be read."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=ShadowReport)
    except (OSError, *MALFORMED):
        return None
