"""Values left as files for another process: whoever may act finds them, acts, and removes them.

So what was asked for while nobody ran, or just before a crash, is still done; after a crash perhaps once more.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from gateway.ledger import files
from gateway.ledger.errors import LedgerCorrupt
from gateway.malformed import MALFORMED

T = TypeVar("T", bound=msgspec.Struct)


def place(folder: Path, name: str, value: msgspec.Struct) -> Path:
    """Leave ``value`` in ``folder``; durable when this returns. Raises: OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    files.create(path, msgspec.json.encode(value))
    return path


def waiting(folder: Path, kind: type[T]) -> list[tuple[Path, T]]:
    """What was not taken yet, by name. Raises: LedgerCorrupt naming a file that is none of ``kind``."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append((path, msgspec.json.decode(path.read_bytes(), type=kind)))
        except FileNotFoundError:
            continue
        except (OSError, *MALFORMED) as error:
            raise LedgerCorrupt(f"{path} is no {kind.__name__.lower()} ({error}): remove it, and ask again") from error
    return found


def remove(path: Path) -> None:
    """Forget what was done, durably."""
    path.unlink(missing_ok=True)
    files.fsync_directory(path.parent)
