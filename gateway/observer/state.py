"""The state file of a worker: what is true now and stands in no record. Written by workers, read by the observer.

One file a worker, ``<data>/state/worker-<n>.json``, replaced atomically at least once a second; a file that
has not been replaced for ``STALE_US`` speaks of a worker that hangs or is gone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gateway.malformed import MALFORMED

STALE_US = 5_000_000


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """One model version in a worker. ``state`` is the manager's word; "READY" means that it serves. ``waiting`` is how
    many calls wait for it to run."""

    name: str
    version: str
    state: str
    reason: str = ""
    digest: str = ""
    waiting: int = 0

    @property
    def failed(self) -> bool:
        """Whether this version, or what should have replaced it, could not be loaded; ``reason`` says why."""
        return self.state in ("READY", "UNAVAILABLE") and self.reason not in ("", "unloaded")


class PolicyState(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle in force. ``error`` tells why a newer one was refused ("" if none was); ``author`` whose it is and
    ``checks`` what it has passed."""

    revision: str = ""
    digest: str = ""
    error: str = ""
    activated_us: int = 0
    author: str = ""
    checks: str = ""


class LedgerState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the worker's shard takes records. ``error`` says why not; ``free`` is its disk's room in bytes."""

    ok: bool = True
    error: str = ""
    shard: str = ""
    free: int = 0


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """One worker at ``time_us``, as gauges: what is counted stands in the ledger. Times are wall clock.

    ``certificates`` maps a subject to its expiry in seconds since 1970.
    """

    worker: int
    pid: int
    started_us: int
    time_us: int
    ready: bool
    models: tuple[ModelState, ...] = ()
    policy: PolicyState = PolicyState()
    ledger: LedgerState = LedgerState()
    inflight: int = 0
    certificates: Mapping[str, int] = {}
    reason: str = ""  # why it is not ready

    def stale(self, now_us: int) -> bool:
        """Whether this is too old to be believed, by a wall clock that may have jumped either way."""
        return abs(now_us - self.time_us) > STALE_US

    def write(self, folder: Path) -> None:
        """Replace this worker's file in ``folder``: write, rename. Nobody ever reads half a state.

        Raises: OSError.
        """
        target = folder / f"worker-{self.worker}.json"
        draft = folder / f".worker-{self.worker}.{os.getpid()}"
        draft.write_bytes(msgspec.json.encode(self))
        draft.replace(target)


def forget(folder: Path, worker: int) -> None:
    """Remove the file of a worker that is gone for good. Nothing happens where there is none."""
    (folder / f"worker-{worker}.json").unlink(missing_ok=True)


def read(folder: Path) -> list[WorkerState]:
    """All workers' states in ``folder``, by number; stale ones too, and files that cannot be read are left out."""
    states = []
    for path in folder.glob("worker-*.json"):
        try:
            states.append(msgspec.json.decode(path.read_bytes(), type=WorkerState))
        except (OSError, *MALFORMED):
            continue
    return sorted(states, key=lambda state: state.worker)
