"""Anchors: the heads of all shards become one leaf of the governance ledger.

Whoever then vouches for the governance ledger's head (a witness, a caller, a copy elsewhere) vouches for
every shard at once, and none of them can vanish or go back.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from gateway.ledger import events
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerCorrupt
from gateway.ledger.ledger import Encode

KIND = "anchor"
_MARKS = (b'"kind":"anchor"', b'"kind":"seal"')


def head_line(shard: str, size: int, root: bytes) -> str:
    """One head as it stands in ``heads``."""
    return f"{shard} {size} {base64.b64encode(root).decode()}"


def anchor(heads: Mapping[str, Checkpoint], *, boot: str, t_us: int) -> Encode:
    """The anchor of ``heads`` (by shard), ready for the governance ledger."""
    lines = [head_line(shard, head.size, head.root) for shard, head in sorted(heads.items())]
    return events.event(KIND, boot=boot, t_us=t_us, fields={"heads": lines})


def read(leaf: bytes) -> tuple[int, dict[str, tuple[int, bytes]]] | None:
    """Time and ``shard -> (size, root)`` of an anchor, or of the seal of a segment; None for any other leaf."""
    if not any(mark in leaf[:40] for mark in _MARKS):
        return None
    try:
        event = events.decode(leaf)
        lines = event.fields.get("heads", ())
        parts = [str(line).split(" ") for line in lines] if isinstance(lines, tuple | list) else []
        return event.t_us, {shard: (int(size), base64.b64decode(root, validate=True)) for shard, size, root in parts}
    except (LedgerCorrupt, ValueError):
        return None
