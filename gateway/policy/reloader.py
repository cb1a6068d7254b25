"""Hot reload: check, test, canaries, swap. A bundle that fails any of them never replaces a good one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from gateway.policy.bundle import Bundle
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.interpreter import RegoError
from gateway.policy.revisions import NoSuchRevision, Revisions
from gateway.policy.signing import Trust

Fingerprint: TypeAlias = tuple[tuple[str, int, int], ...]
Seen: TypeAlias = tuple[str, Fingerprint]
"""What a look found: the pinned digest, or "" and the files."""


class Swappable(Protocol):
    """A decision point whose bundle can be replaced."""

    @property
    def bundle(self) -> Bundle: ...

    def swap(self, bundle: Bundle) -> None: ...


@dataclass(frozen=True, slots=True)
class Change:
    """What one step came to: ``bundle`` serves now, or ``refused`` says why ``previous`` serves on."""

    previous: Bundle
    bundle: Bundle | None = None
    refused: PolicyInvalid | None = None


def vetted(path: Path, trust: Trust | None = None) -> Bundle:
    """The bundle at ``path``, which lint, trial, tests and canaries passed, and which ``trust`` covers if given.

    Raises: PolicyInvalid.
    """
    return Bundle.read(path, vet=True, trust=trust)


class Reloader:
    """Keeps a decision point on the bundle in ``path``, or on the pinned revision while there is one.

    ``refused`` tells what is wrong now, for readiness and logs. One per process; ``step`` is called every few seconds
    from the event loop: a thread waits for the child process that tries the bundle, the swap is in the loop. (An engine
    must die in the thread that made it, so the waiting thread makes none.) ``seen`` is what the point's bundle was read
    from: without it the first step reads and tries it again.
    """

    def __init__(
        self,
        path: Path,
        point: Swappable,
        *,
        revisions: Revisions | None = None,
        read: Callable[[Path], Bundle] = vetted,
        seen: Seen | None = None,
    ) -> None:
        self._path = path
        self._point = point
        self._revisions = revisions
        self._read = read
        self._seen = seen
        self.refused: PolicyInvalid | None = None

    async def step(self) -> Change | None:
        """Look once; None when nothing changed since the last look. Never raises for a bad bundle."""
        seen = look(self._path, self._revisions)
        if seen == self._seen:
            return None
        previous = self._point.bundle
        try:
            bundle = await asyncio.to_thread(self._fetched, seen[0])
            if isinstance(bundle, PolicyInvalid):
                raise bundle
            if bundle.digest != previous.digest:
                self._point.swap(bundle)
        except (PolicyInvalid, RegoError) as error:
            self._seen = seen
            self.refused = error if isinstance(error, PolicyInvalid) else _refusal(str(error))
            return Change(previous, refused=self.refused)
        self._seen = seen
        self.refused = None
        return Change(previous, bundle=bundle) if bundle.digest != previous.digest else None

    def _fetched(self, pinned: str) -> Bundle | PolicyInvalid:
        """The candidate, or why there is none, with nothing of the engines that vetted it: an engine that another
        thread drops, with a traceback, panics."""
        try:
            return self._candidate(pinned)
        except (PolicyInvalid, RegoError) as error:
            refusal = error if isinstance(error, PolicyInvalid) else _refusal(str(error))
            return PolicyInvalid(refusal.findings)

    def _candidate(self, pinned: str) -> Bundle:
        """The bundle that should serve, vetted. Raises: PolicyInvalid."""
        try:
            store = self._revisions if pinned else None
            return store.load(pinned) if store is not None else self._read(self._path)
        except (NoSuchRevision, OSError) as error:
            raise _refusal(str(error)) from error


def look(path: Path, revisions: Revisions | None) -> Seen:
    """What should serve now, without reading it."""
    pinned = revisions.pinned() if revisions is not None else ""
    return pinned, () if pinned else fingerprint(path)


def fingerprint(path: Path) -> Fingerprint:
    """Names, sizes and times of the files at ``path``: cheap, and different when anything was written."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    found = []
    for file in files:
        try:
            status = file.stat()
        except FileNotFoundError:  # it went while we looked: the next step sees it gone
            continue
        found.append((str(file), status.st_size, status.st_mtime_ns))
    return tuple(found)


def _refusal(text: str) -> PolicyInvalid:
    return PolicyInvalid([Finding("", 0, 0, "unreadable", text)])
