"""Mutation of inputs: which field of a call can be missing or malformed, and the call is allowed still?

Every field of every canary is deleted, nulled, retyped, emptied, made negative and huge. Findings are
1. a field of an allowed call that is checked (some change of it denies) though another change of it still allows;
2. a change after which an allowed call sheds an obligation;
3. a change that turns a known denial into an allow.
Fields that the policy does not read at all are listed apart: it does not check them, whatever they hold.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.policy.bundle import Bundle
from gateway.policy.canaries import Canary, parse
from gateway.policy.input import Document, encode
from gateway.policy.obligations import kind
from gateway.policy.reads import Path, Reads
from gateway.policy.verdict import Verdict

DELETED = object()
VALUES: tuple[tuple[str, object], ...] = (
    ("deleted", DELETED),
    ("null", None),
    ("a string", "x"),
    ("[]", []),
    ("{}", {}),
    ("-1", -1),
    ("1000000000", 1_000_000_000),
    ("true", True),
)


@dataclass(frozen=True, slots=True, order=True)
class Survivor:
    """A change that opens: of ``path`` in ``canary``, with what it does to the decision."""

    path: str
    change: str
    canary: str
    effect: str

    @property
    def label(self) -> str:
        """``path=change``: how ``mutate.allow`` names it."""
        return f"{self.path}={self.change}"

    def __str__(self) -> str:
        return f"{self.label}: {self.effect} (canary {self.canary!r})"


@dataclass(frozen=True, slots=True)
class MutationReport:
    """What became of all mutations. ``unread`` are fields that this policy does not check at all."""

    canaries: int
    evaluations: int
    survivors: tuple[Survivor, ...]
    accepted: tuple[Survivor, ...]
    unread: tuple[str, ...]


def mutate(bundle: Bundle, ask: Callable[[bytes], Verdict]) -> MutationReport:
    """Mutate every canary of ``bundle``.

    Raises: PolicyInvalid for canaries that do not fit, ValueError for a ``mutate.allow`` that does not.
    """
    allowed = accepted_labels(bundle.accepted)
    canaries = parse(bundle.canaries)
    outcomes = [outcome for canary in canaries for outcome in _outcomes(canary, bundle.reads, ask)]
    survivors = {survivor for canary in canaries for survivor in _judge(canary, outcomes)}
    unread = {".".join(o.path) for o in outcomes if not o.read}
    return MutationReport(
        len(canaries),
        len(outcomes),
        tuple(sorted(s for s in survivors if s.label not in allowed)),
        tuple(sorted(s for s in survivors if s.label in allowed)),
        tuple(sorted(unread)),
    )


@dataclass(frozen=True, slots=True)
class _Outcome:
    canary: Canary
    path: Path
    change: str
    read: bool
    allow: bool
    failed: bool  # the engine decided nothing: a denial, but not by a check of the policy
    lost: tuple[str, ...]


def _outcomes(canary: Canary, reads: Reads | None, ask: Callable[[bytes], Verdict]) -> Iterator[_Outcome]:
    document = canary.document()
    before = {kind(obligation) for obligation in ask(encode(document)).obligations}
    for path, change, mutated in mutations(document):
        verdict = ask(encode(mutated))
        lost = before - {kind(obligation) for obligation in verdict.obligations}
        read = is_read(path, reads)
        shed = tuple(sorted(lost)) if verdict.allow else ()
        yield _Outcome(canary, path, change, read, verdict.allow, verdict.kind != "", shed)


def _judge(canary: Canary, outcomes: list[_Outcome]) -> Iterator[Survivor]:
    own = [o for o in outcomes if o.canary is canary and o.read]
    checked = {o.path for o in own if not o.allow and not o.failed}
    for o in own:
        if not o.allow:
            continue
        where = ".".join(o.path)
        if not canary.allow:
            yield Survivor(where, o.change, canary.name, "a denial turns into an allow")
        elif o.lost:
            yield Survivor(where, o.change, canary.name, f"sheds {', '.join(o.lost)}")
        elif o.path in checked:
            yield Survivor(where, o.change, canary.name, "still allowed, though the field is checked")


def mutations(document: Document) -> Iterator[tuple[Path, str, Document]]:
    """Every single-field change of ``document``; a change that changes nothing is left out."""
    for path in list(_paths(document, ())):
        for change, value in VALUES:
            mutated = copy.deepcopy(document)
            parent, last = _parent(mutated, path)
            old = parent[last]
            if type(old) is type(value) and old == value:
                continue
            if value is DELETED:
                del parent[last]
            else:
                parent[last] = copy.copy(value)
            yield path, change, mutated


def is_read(path: Path, reads: Reads | None) -> bool:
    """Whether a policy with these reads can see a change at ``path``: at, above or below a read path."""
    if reads is None:
        return True
    names = tuple(part for part in path if not part.isdigit())
    return any(names[: len(read)] == read[: len(names)] for read in reads)


def accepted_labels(text: str) -> frozenset[str]:
    """Labels in a ``mutate.allow`` file: one ``path=change`` a line, a reason after ``#`` is mandatory.

    Raises: ValueError for a line without a reason.
    """
    labels = set()
    for number, line in enumerate(text.splitlines(), start=1):
        label, mark, reason = line.partition("#")
        if label.strip() and not (mark and reason.strip()):
            raise ValueError(f"mutate.allow:{number}:1: {label.strip()!r} needs a reason after #")
        labels.add(label.strip())
    return frozenset(labels - {""})


def _paths(value: object, above: Path) -> Iterator[Path]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*above, key)
            yield from _paths(item, (*above, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield (*above, str(number))
            yield from _paths(item, (*above, str(number)))


def _parent(document: Document, path: Path) -> tuple[dict[str | int, object], str | int]:
    """The container that holds the last step of ``path``, and that step as the container wants it."""
    container: object = document
    for part in path[:-1]:
        container = container[int(part)] if isinstance(container, list) else container[part]  # type: ignore[index]  # built from this document
    last: str | int = int(path[-1]) if isinstance(container, list) else path[-1]
    return container, last  # type: ignore[return-value]  # a dict, or a list that is indexed by int
