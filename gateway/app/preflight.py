"""What can be seen to be missing before anything is written: a gateway that cannot start leaves no data directory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gateway.app.failure import StartupError


def check_models(folders: Sequence[Path]) -> None:
    """Raises: StartupError for a repository that is not there."""
    for path in folders:
        if not path.is_dir():
            raise StartupError(f"models directory {path} does not exist; give the right one with --models DIR")


def check_policy(path: Path, *, kept: Path) -> None:
    """Only that there may be a policy in ``path``: a worker vets it. Raises: StartupError.

    Where revisions are ``kept`` the gateway has run before, and a pinned one may serve instead of ``path``.
    """
    if os.path.isdir(kept):  # False, too, for what cannot be looked into: preparing it says so
        return
    if not path.exists():
        raise StartupError(f"policy directory or bundle {path} does not exist; give the right one with --policies DIR")
    if path.is_dir() and not any(path.rglob("*.rego")):
        raise StartupError(f"policy directory {path} holds no *.rego file; give the right one with --policies DIR")
