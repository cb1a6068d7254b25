"""What an earlier revision obliged to, decided again: a record names the types of its obligations, not their values."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from gateway.policy.bundle import canonical, digest_of
from gateway.policy.files import read_directory
from gateway.policy.findings import PolicyInvalid
from gateway.policy.interpreter import Interpreter, RegoError
from gateway.policy.obligations import kind
from gateway.policy.reads import Reads, reads_of
from gateway.policy.replay import decide_again
from gateway.types import Obligation

KEPT = 4
"""Revisions that are ready to decide at once, least lately asked out first."""
REMEMBERED = 10_000


class Incumbents:
    """Revisions kept under ``folder`` (None: none are), as ``revisions`` keeps them. For the thread that asks."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._engines: OrderedDict[str, tuple[Interpreter, Reads | None] | None] = OrderedDict()
        self._known: OrderedDict[tuple[str, bytes], frozenset[Obligation] | None] = OrderedDict()

    def obligations(self, digest: str, kept: bytes, types: tuple[str, ...]) -> frozenset[Obligation] | None:
        """What the revision ``digest`` stated for the input ``kept``; None when that cannot be known.

        It cannot when the revision is no longer kept, or does not state the ``types`` that were recorded.
        """
        at = (digest, kept)
        if at not in self._known:
            self._known[at] = self._decided(digest, kept)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        found = self._known[at]
        return found if found is not None and {kind(each) for each in found} == set(types) else None

    def _decided(self, digest: str, kept: bytes) -> frozenset[Obligation] | None:
        ready = self._ready(digest)
        if ready is None:
            return None
        verdict = decide_again(*ready, kept)
        return None if isinstance(verdict, str) or verdict.kind else frozenset(verdict.obligations)

    def _ready(self, digest: str) -> tuple[Interpreter, Reads | None] | None:
        if digest not in self._engines:
            self._engines[digest] = self._loaded(digest)
            if len(self._engines) > KEPT:
                self._engines.popitem(last=False)
        self._engines.move_to_end(digest)
        return self._engines[digest]

    def _loaded(self, digest: str) -> tuple[Interpreter, Reads | None] | None:
        if self._folder is None or not digest:
            return None
        try:
            files = read_directory(self._folder / digest)
            data = canonical(files.data)
            if digest_of(files.modules, data) != digest:
                return None
            engine = Interpreter(files.modules, data)
            return engine, reads_of(engine.ast())
        except (PolicyInvalid, RegoError, OSError):
            return None
