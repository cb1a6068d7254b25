"""Orders to a shard's writer, as files: ``<shard>/orders/<id>.json``. So an erasure asked for is carried out."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.ledger import spool
from gateway.ledger.upkeep import Order

FOLDER = "orders"


def new_id() -> str:
    """A fresh id for an order."""
    return os.urandom(8).hex()


def place(directory: Path, order: Order) -> Path:
    """Leave ``order`` for the writer of the shard in ``directory``; durable when this returns."""
    return spool.place(directory / FOLDER, order.id, order)


def waiting(directory: Path) -> list[tuple[Path, Order]]:
    """Orders that were not carried out yet. Raises: LedgerCorrupt naming a file that is none."""
    return spool.waiting(directory / FOLDER, Order)
