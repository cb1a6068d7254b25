"""Revisions kept on disk: what was active, when, why, and how to go back. Needs no network and no running gateway.

Layout under the gateway's data directory: ``policy/revisions/<digest>/`` holds a bundle as files,
``policy/history.jsonl`` one event a line, ``policy/pin.json`` the revision that must be active until it is released.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from gateway.malformed import MALFORMED
from gateway.policy.bundle import Bundle
from gateway.policy.findings import PolicyInvalid

EventKind = Literal["activated", "refused", "rolled-back", "released"]
UNREADABLE = "unreadable pin.json"


class NoSuchRevision(Exception):
    """No kept revision, or more than one, goes by that name."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of history. Times are microseconds since 1970, UTC; ``author`` is whoever did it."""

    time_us: int
    kind: EventKind
    revision: str
    digest: str
    previous: str = ""
    author: str = ""
    text: str = ""


class _Pin(msgspec.Struct, frozen=True):
    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    author: str = ""
    reason: str = ""


class Revisions:
    """The kept revisions of one gateway. Several processes may use one directory: each write is atomic."""

    def __init__(self, root: Path, *, clock_us: Callable[[], int], keep: int = 10) -> None:
        self._root = root
        self._clock_us = clock_us
        self._keep = keep

    @property
    def folder(self) -> Path:
        """Where the kept bundles are, by digest."""
        return self._root / "revisions"

    def save(self, bundle: Bundle) -> None:
        """Keep ``bundle``; the oldest beyond ``keep`` go, a pinned one never."""
        target = self._path(bundle.digest)
        if target.is_dir():
            os.utime(target)
            return
        scratch = target.with_name(f".{bundle.digest}.{os.getpid()}")
        _write(bundle, scratch)
        try:
            scratch.rename(target)
        except OSError:  # another process was first: the same digest is the same bundle
            shutil.rmtree(scratch)
        for old in self._by_age()[self._keep :]:
            if old.name != self.pinned():
                shutil.rmtree(old, ignore_errors=True)

    def load(self, name: str, *, vet: bool = True) -> Bundle:
        """The kept bundle that ``name`` (a revision, a digest or the beginning of one) means.

        Raises: NoSuchRevision; PolicyInvalid when it no longer passes its checks and, with ``vet``, tests and canaries.
        """
        return Bundle.read(self._path(self.resolve(name)), vet=vet)

    def resolve(self, name: str) -> str:
        """The digest that ``name`` means. Raises: NoSuchRevision."""
        wanted = name.rpartition("@")[2]
        found = [path.name for path in self._by_age() if wanted and path.name.startswith(wanted)]
        if len(found) != 1:
            kept = ", ".join(path.name[:12] for path in self._by_age()) or "none"
            raise NoSuchRevision(f"{name!r} names {len(found)} kept revisions; kept: {kept}")
        return found[0]

    def pin(self, name: str, *, author: str, reason: str) -> Event:
        """Make ``name`` the revision that must be active until ``release``. Raises: NoSuchRevision, PolicyInvalid."""
        bundle = self.load(name)
        previous = self.current()
        _replace(self._root / "pin.json", json.dumps({"digest": bundle.digest, "author": author, "reason": reason}))
        return self.note("rolled-back", bundle, previous=previous, author=author, text=reason)

    def release(self, *, author: str) -> bool:
        """Let the policy directory decide again; False when nothing was pinned."""
        digest = self.pinned()
        if not digest:
            return False
        (self._root / "pin.json").unlink(missing_ok=True)
        self._append(Event(self._clock_us(), "released", digest[:12], digest, author=author))
        return True

    def pinned(self) -> str:
        """The pinned digest, "" when the policy directory decides. A pin that cannot be read names no kept revision:
        it is refused as such a one, and the directory does not decide in its place."""
        stated = self._pin()
        return "" if stated is None else stated.digest

    def pinned_by(self) -> str:
        """Who pinned it, "" when nothing is pinned, or nobody says."""
        stated = self._pin()
        return "" if stated is None else stated.author

    def note(self, kind: EventKind, bundle: Bundle, *, previous: str = "", author: str = "", text: str = "") -> Event:
        """Add an event about ``bundle`` to the history."""
        event = Event(self._clock_us(), kind, bundle.revision, bundle.digest, previous, author, text)
        self._append(event)
        return event

    def refused(self, invalid: PolicyInvalid, *, current: str, author: str = "") -> Event:
        """Add the refusal of a bundle that could not be used."""
        event = Event(self._clock_us(), "refused", "", "", current, author, str(invalid))
        self._append(event)
        return event

    def history(self) -> list[Event]:
        """All events, oldest first; a line that a crash cut or the disk damaged is left out."""
        try:
            lines = (self._root / "history.jsonl").read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [event for event in map(_event, lines) if event is not None]

    def current(self) -> str:
        """Digest of the revision that was activated or rolled back to last."""
        active = (e.digest for e in reversed(self.history()) if e.kind in ("activated", "rolled-back"))
        return next(active, "")

    def _pin(self) -> _Pin | None:
        try:
            stated = msgspec.json.decode((self._root / "pin.json").read_bytes(), type=_Pin)
        except FileNotFoundError:
            return None
        except MALFORMED:
            return _Pin(UNREADABLE)
        return stated

    def _path(self, digest: str) -> Path:
        return self.folder / digest

    def _by_age(self) -> list[Path]:
        folder = self.folder
        kept = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
        return sorted(kept, key=lambda path: path.stat().st_mtime_ns, reverse=True)

    def _append(self, event: Event) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        line = json.dumps(asdict(event), separators=(",", ":")) + "\n"
        file = os.open(self._root / "history.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            os.write(file, line.encode())
            os.fsync(file)
        finally:
            os.close(file)


def _event(line: bytes) -> Event | None:
    try:
        return Event(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None


def _write(bundle: Bundle, target: Path) -> None:
    """The bundle as files: reading them back gives the same digest."""
    texts = {
        **bundle.modules,
        **bundle.tests,
        "data.json": bundle.data,
        "canaries.json": bundle.canaries.decode(),
        "mutate.allow": bundle.accepted,
        ".manifest": json.dumps({"revision": bundle.label}) if bundle.label else "",
    }
    for name, text in texts.items():
        if text:
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text)
    scratch.replace(path)
