"""The notary signs heads. It runs apart from the writers and believes bytes only.

For every shard it tails committed leaves, computes the tree from them, compares with the writer's tiles,
stores what it will sign, and then signs. Whatever contradicts what it signed before it refuses for good.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.ledger import merkle
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import KeyMissing, LedgerCorrupt, LedgerError, LedgerRolledBack
from gateway.ledger.heads import Heads
from gateway.ledger.lock import Lock
from gateway.ledger.logkeys import Keyring, LogKeys
from gateway.ledger.note import Note
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.resume import load_tree
from gateway.ledger.signature import PrivateKey, sign, verifier_key
from gateway.ledger.tail import Tail
from gateway.ledger.tree import Tree

ORIGIN = "gateway-ledger"
KEYRING = "keyring"
_PER_STEP = 65_536
_BATCH = 4_096

log = logging.getLogger(__name__)


class ShardTree:
    """One shard as the notary knows it: a tree that only ever grows by bytes it has read itself."""

    def __init__(self, root: Path, shard: str) -> None:
        self.shard = shard
        self.heads = Heads(root / shard)
        self.signed: Note | None = None
        self._reader = ShardReader(root, shard)
        self._tree = Tree()

    def open(self) -> None:
        """Take up the tree that was last signed. Raises: LedgerRolledBack, LedgerError, OSError."""
        have = self._reader.size()
        for size, root in sorted(set(self.heads.open())):
            if have < size:
                raise LedgerRolledBack(f"shard {self.shard!r} has {have} records, {size} were signed: its tail is gone")
            self._tree = load_tree(self._reader, size)
            if self._tree.root() != root:
                raise LedgerCorrupt(f"shard {self.shard!r}: the first {size} records are not those that were signed")

    def grow(self) -> bool:
        """Read what is new, a bounded piece of it; True if there was something. Raises: LedgerCorrupt."""
        tree, until = self._tree.snapshot(), self._tree.size + _PER_STEP
        while tree.size < until and (batch := self._reader.read(tree.size, _BATCH)):
            for seq, leaf in batch:
                if seq != tree.size:
                    raise LedgerCorrupt(f"shard {self.shard!r}: record {tree.size} is missing")
                for tile in tree.add(merkle.leaf_hash(leaf)):
                    if self._reader.tile(tile.level, tile.n) != tile.hashes:
                        raise LedgerCorrupt(f"shard {self.shard!r}: tile {tile.level}/{tile.n} is not of these records")
        grown = tree.size > self._tree.size
        self._tree = tree
        return grown

    def head(self, origin: str) -> Checkpoint:
        """The head of what was read."""
        return Checkpoint(f"{origin}/{self.shard}", self._tree.size, self._tree.root())

    def tail(self) -> Tail:
        """The newest hashes of what was read."""
        return Tail.of(self._tree)

    def close(self) -> None:
        """Close the files."""
        self._reader.close()
        self.heads.close()


class Notary:
    """Signs the heads of all shards under ``root``. One per root; ``step`` blocks and is called about each second.

    Private keys are in ``keys``; public ones are written to ``root/keyring`` before their first signature.
    """

    def __init__(self, root: Path, keys: LogKeys, *, clock_us: Callable[[], int], origin: str = ORIGIN) -> None:
        self._root = root
        self._keys = keys
        self._clock_us = clock_us
        self._origin = origin
        self._lock: Lock | None = None
        self._trees: dict[str, ShardTree] = {}
        self._refused: dict[str, str] = {}
        self._unkept: dict[str, str] = {}
        self.keyring = Keyring(root / KEYRING)

    @property
    def alarms(self) -> Mapping[str, str]:
        """Shards that cannot be signed, or whose heads could not be kept when they were last anchored, and why."""
        return {**self._unkept, **self._refused}

    def open(self) -> None:
        """Lock, and make the first key if nothing was ever signed here.

        Raises: LedgerLocked when another notary runs; KeyMissing when the key is gone; OSError.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        self._lock = Lock.take(self._root)
        try:
            if not self._keys.load():
                if self.keyring.entries():
                    raise KeyMissing(
                        f"{self._keys.directory} holds no signing key, but heads were signed: restore it, "
                        f"or make a new one with 'gateway ledger rotate-key'"
                    )
                self._keys.make()
        except BaseException:
            self.close()
            raise

    def step(self) -> Mapping[str, Checkpoint]:
        """Sign a head for every shard that grew; returns those heads. A shard that does not fit is in ``alarms``."""
        fresh: dict[str, Checkpoint] = {}
        there = shards(self._root)
        for gone in (self._refused.keys() | self._unkept.keys()) - set(there):
            self._refused.pop(gone, None)
            self._unkept.pop(gone, None)
        for shard in there:
            try:
                tree = self._tree(shard)
                if tree.grow() or tree.signed is None:
                    fresh[shard] = self._sign(tree)
                self._refused.pop(shard, None)
            except (LedgerError, OSError) as error:
                self._alarm(self._refused, shard, error)
        return fresh

    def catch_up(self) -> Mapping[str, Checkpoint]:
        """``step`` until nothing is left to read; returns the newest heads."""
        newest: dict[str, Checkpoint] = {}
        while fresh := self.step():
            newest |= fresh
        return newest

    def anchor(self) -> Mapping[str, Checkpoint]:
        """Keep the newest heads for good, with every signature that we can give; returns them for the anchor event.
        A shard whose heads cannot be kept is in ``alarms``, and in no anchor."""
        kept: dict[str, Checkpoint] = {}
        for shard, tree in list(self._trees.items()):
            if tree.signed is None:
                continue
            head = Checkpoint.parse(tree.signed.text)
            try:
                tree.heads.anchor(head.size, self._note(head, kinds=("ed25519", "mldsa44")), self._clock_us())
                kept[shard] = head
                self._unkept.pop(shard, None)
            except (LedgerError, OSError) as error:
                self._alarm(self._unkept, shard, error)
        return kept

    def close(self) -> None:
        """Close files and let go of the lock; safe to call twice."""
        for shard in list(self._trees):
            self._forget(shard)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _alarm(self, alarms: dict[str, str], shard: str, error: Exception) -> None:
        if alarms.get(shard) != str(error):
            log.critical("notary.refused", extra={"shard": shard, "error": str(error)})
        alarms[shard] = str(error)
        self._forget(shard)

    def _tree(self, shard: str) -> ShardTree:
        tree = self._trees.get(shard)
        if tree is None:
            tree = ShardTree(self._root, shard)
            try:
                tree.open()
            except BaseException:
                tree.close()
                raise
            self._trees[shard] = tree
        return tree

    def _sign(self, tree: ShardTree) -> Checkpoint:
        head = tree.head(self._origin)
        tree.heads.promise(head.root, tree.tail())
        tree.signed = self._note(head)
        tree.heads.publish(tree.signed)
        return head

    def _note(self, head: Checkpoint, kinds: tuple[str, ...] = ("ed25519",)) -> Note:
        text, now_s = str(head), self._clock_us() // 1_000_000
        privates: list[PrivateKey] = [private for kind in kinds for private in self._keys.load(kind)]
        lines = []
        for private in privates:
            key = verifier_key(head.origin, private)
            known = any(entry.key.name == head.origin for entry in self.keyring.entries())
            self.keyring.trust(key, head.size if known else 0)
            lines.append(sign(text, key, private, now_s))
        return Note(text, tuple(lines))

    def _forget(self, shard: str) -> None:
        tree = self._trees.pop(shard, None)
        if tree is not None:
            tree.close()
