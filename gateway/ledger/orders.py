"""Orders to a shard's writer, as files: whoever runs the writer finds them, carries them out and removes them.

``<shard>/orders/<id>.json``. So an erasure asked for while the gateway is down, or just before it crashes, is
still carried out.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from gateway.ledger import files
from gateway.ledger.errors import LedgerCorrupt
from gateway.ledger.upkeep import Order

FOLDER = "orders"


def new_id() -> str:
    """A fresh id for an order."""
    return os.urandom(8).hex()


def place(directory: Path, order: Order) -> Path:
    """Leave ``order`` for the writer of the shard in ``directory``; durable when this returns."""
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"{order.id}.json"
    files.create(path, msgspec.json.encode(order))
    return path


def waiting(directory: Path) -> list[tuple[Path, Order]]:
    """Orders that were not carried out yet. Raises: LedgerCorrupt naming a file that is none."""
    found = []
    for path in sorted((directory / FOLDER).glob("*.json")):
        try:
            found.append((path, msgspec.json.decode(path.read_bytes(), type=Order)))
        except FileNotFoundError:
            continue
        except (msgspec.MsgspecError, OSError) as error:
            raise LedgerCorrupt(f"{path} is no order ({error}): remove it, and place it again") from error
    return found


def remove(path: Path) -> None:
    """Forget an order that was carried out, durably."""
    path.unlink(missing_ok=True)
    files.fsync_directory(path.parent)
