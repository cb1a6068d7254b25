"""What an attacker with write access (and, if he has it, the signing key) can do to a ledger on disk."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from gateway.ledger import merkle, segment
from gateway.ledger.logkeys import LogKeys
from gateway.ledger.notary import Notary
from gateway.ledger.tree import Tree

from .conftest import clock_us

Leaves = list[tuple[int, bytes]]


def execute(path: Path, *statements: str) -> None:
    """Run SQL on a segment as any tool could."""
    db = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


def edit(path: Path, seq: int, old: str = "acme", new: str = "evil") -> None:
    """Change text inside one leaf."""
    execute(path, f"UPDATE leaf SET leaf = CAST(replace(CAST(leaf AS TEXT), '{old}', '{new}') AS BLOB) WHERE seq={seq}")


def put(path: Path, seq: int, leaf: bytes) -> None:
    """Replace one leaf by any bytes."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("UPDATE leaf SET leaf = ? WHERE seq = ?", (leaf, seq))
    db.close()


def rewrite(shard: Path, change: Callable[[Leaves], Leaves]) -> None:
    """Replace the leaves of a one-segment shard and make tiles, boots and metadata consistent with them again."""
    path = segment.files(shard)[0]
    db = sqlite3.connect(path, isolation_level=None)
    leaves = change(db.execute("SELECT seq, leaf FROM leaf ORDER BY seq").fetchall())
    db.execute("DELETE FROM leaf")
    db.execute("DELETE FROM tile")
    tree = Tree()
    for seq, leaf in leaves:
        if b'"kind":"boot"' in leaf[:40]:
            leaf = re.sub(rb'"root":"[0-9a-f]{64}"', b'"root":"%s"' % tree.root().hex().encode(), leaf)
        db.execute("INSERT INTO leaf VALUES (?,?)", (seq, leaf))
        for tile in tree.add(merkle.leaf_hash(leaf)):
            db.execute("INSERT INTO tile VALUES (?,?,?)", tile)
    db.close()


def replaced(seq: int, old: bytes = b"acme", new: bytes = b"evil") -> Callable[[Leaves], Leaves]:
    """Change text inside leaf ``seq``, for ``rewrite``."""
    return lambda leaves: [(s, leaf.replace(old, new) if s == seq else leaf) for s, leaf in leaves]


def cut(count: int) -> Callable[[Leaves], Leaves]:
    """Drop the newest ``count`` leaves, for ``rewrite``."""
    return lambda leaves: leaves[:-count]


def resign(root: Path, shard: str) -> None:
    """Forget what was signed for a shard and sign it anew with the real key."""
    for name in ("checkpoint", "checkpoints.db", "checkpoints.db-wal", "checkpoints.db-shm"):
        (root / shard / name).unlink(missing_ok=True)
    notary = Notary(root, LogKeys(root.parent / "keys" / "log"), clock_us=clock_us)
    notary.open()
    notary.step()
    notary.anchor()
    notary.close()


def remove(shard: Path) -> None:
    """Make a shard vanish."""
    shutil.rmtree(shard)
