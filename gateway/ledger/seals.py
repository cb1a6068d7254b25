"""Which sealed segments the governance ledger does not know of yet: each becomes one ``seal`` event with its head."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.ledger import files, merkle, sealing, segment
from gateway.ledger.errors import LedgerCorrupt
from gateway.ledger.hashes import ShardHashes
from gateway.ledger.reader import ShardReader, shards
from gateway.malformed import MALFORMED

MEMORY = "sealed.json"


class Seal(NamedTuple):
    """Segment ``file`` of ``shard`` ends the tree of ``size`` records with ``root``."""

    shard: str
    file: str
    first: int
    size: int
    root: bytes


class Seals:
    """Follows the shards under ``ledger``; what was written down is remembered in ``memory``, a file."""

    def __init__(self, ledger: Path, memory: Path) -> None:
        self._ledger = ledger
        self._memory = memory
        self._known: dict[str, int] = {}

    def open(self) -> None:
        """Read what was written down. A memory that is lost repeats events, which say the same again."""
        try:
            self._known = msgspec.json.decode(self._memory.read_bytes(), type=dict[str, int])
        except (OSError, *MALFORMED):
            self._known = {}

    def fresh(self) -> list[Seal]:
        """Sealed segments that were not written down, oldest first within each shard.

        Raises: LedgerCorrupt when one does not have the root that the next one continues; OSError.
        """
        return [seal for shard in shards(self._ledger) for seal in self._of(shard)]

    def written(self, seal: Seal) -> None:
        """Remember that the event of ``seal`` is durable. Raises: OSError."""
        self._known[seal.shard] = seal.size
        files.replace(self._memory, msgspec.json.encode(self._known))

    def _of(self, shard: str) -> list[Seal]:
        found = []
        for path, end in sealing.closed(self._ledger / shard):
            if end <= self._known.get(shard, 0):
                continue
            if not sealing.is_sealed(path):
                break
            with closing(ShardReader(self._ledger, shard)) as reader:
                root = merkle.range_root(0, end, ShardHashes(reader))
                if reader.start_root(self._ledger / shard / segment.name(end)) != root:
                    raise LedgerCorrupt(f"{path} does not have the root that the segment behind it continues")
            found.append(Seal(shard, path.name, segment.first_seq(path), end, root))
        return found
