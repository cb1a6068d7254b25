"""A shard on disk, for its one writer: lock, segments, and the end of the tree. Every method blocks.

After a failed commit the file is never written again: Linux reports a write-back error once and may drop
the page, so going on would build on what is not there. ``reopen`` starts from what the disk holds.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from gateway.ledger import heads, merkle, sealing, segment
from gateway.ledger.errors import LedgerCorrupt, LedgerError, LedgerRolledBack, LedgerUnwritable
from gateway.ledger.ledger import Payload
from gateway.ledger.lock import Lock
from gateway.ledger.mounts import network_filesystem
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.resume import load_tree
from gateway.ledger.sealed import Block, Sealed
from gateway.ledger.segment import Segment, unwritable
from gateway.ledger.tree import WIDTH, Tree
from gateway.ledger.upkeep import Done, Order, perform
from gateway.ledger.vault import Vault

SEGMENT_LEAVES = 1_000_000
SEGMENT_BYTES = 2 << 30
PAYLOAD_DAYS = 30.0
_WAL_SOFT, _WAL_HARD = 1 << 20, 16 << 20


Entry: TypeAlias = tuple[int, bytes, Payload | None, *tuple[object, ...]]
"""Number, leaf and payload of a record; what else its sender put behind them is not looked at."""


class Store:
    """The files of one shard, opened for writing. Use from one thread at a time."""

    def __init__(
        self,
        directory: Path,
        vault: Vault,
        *,
        clock_us: Callable[[], int],
        payload_days: float = PAYLOAD_DAYS,
        segment_leaves: int = SEGMENT_LEAVES,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.directory = directory
        self.shard = directory.name
        self.tree = Tree()
        self._vault = vault
        self._clock_us = clock_us
        self._payload_us = int(payload_days * 86_400_000_000)
        self._segment_leaves = segment_leaves
        self._segment_bytes = segment_bytes
        self._lock: Lock | None = None
        self._segment: Segment | None = None
        self._bytes = 0
        self._wal = 0

    @property
    def size(self) -> int:
        """Committed leaves."""
        return self.tree.size

    def open(self) -> None:
        """Lock the shard, check its newest segment, load the tree's end.

        Raises: LedgerLocked, LedgerUnwritable, LedgerNewer, LedgerCorrupt, KeyMissing.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock = Lock.take(self.directory)
        except OSError as error:
            raise unwritable(error, self.directory) from error
        try:
            if kind := network_filesystem(self.directory):
                raise LedgerUnwritable(f"{self.directory} is on {kind}: the ledger needs a local disk")
            if not shards(self.directory.parent):  # later a key that is gone must come back
                self._vault.keys.prepare()
            self._load()
            self._vault.ready()
        except (sqlite3.OperationalError, OSError) as error:
            self.close()
            raise unwritable(error, self.directory) from error
        except BaseException:
            self.close()
            raise

    def commit(self, entries: Sequence[Entry]) -> list[bytes]:
        """Make one batch durable and return its leaf hashes. On any error the tree is as before.

        Raises: sqlite3.Error, OSError, LedgerError; call ``reopen`` then.
        """
        live = self._live()
        first = self.tree.size
        if entries[0][0] != first:
            raise LedgerCorrupt(f"{self.directory}: leaf {entries[0][0]} was to follow {first}")
        leaves = [entry[1] for entry in entries]
        hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
        tree = self.tree.snapshot()
        tiles = tree.extend(hashes)
        payloads, blocks = self._sealed(entries)
        live.commit(first, leaves, payloads, blocks, tiles)
        self.tree = tree
        weight = sum(map(len, leaves)) + sum([len(block.body) for block in blocks])
        if payloads:
            weight += sum([len(sealed.body) for _, sealed in payloads])
        self._bytes += weight
        self._wal += weight + 2 * segment.PAGE
        if self._wal > _WAL_HARD:
            self.checkpoint()
        return hashes

    def rest(self) -> None:
        """Called when nothing waits: moves a grown WAL into its file, where no commit pays for it."""
        if self._wal > _WAL_SOFT:
            self.checkpoint()

    @property
    def wal_is_dirty(self) -> bool:
        """True when ``checkpoint`` has something to do."""
        return self._wal > 0

    @property
    def light(self) -> bool:
        """True when the next commit is nothing but that: it begins no segment and moves no log."""
        live = self._segment
        return live is not None and not self._full(live) and self._wal < _WAL_HARD // 2

    def checkpoint(self) -> None:
        """Move the WAL into its file, as far as readers allow. Raises: sqlite3.Error."""
        if self._segment is not None and self._segment.checkpoint():
            self._wal = 0

    def reopen(self) -> None:
        """After a failed commit: settle what the disk holds, then begin a new segment behind it.

        Raises: sqlite3.Error, OSError, LedgerError; may be tried again.
        """
        path = segment.files(self.directory)[-1]
        self._drop()
        old = Segment.open(path, self.shard)
        try:
            end = old.end()
            if not old.checkpoint(truncate=True):
                raise LedgerUnwritable(f"{path}: a reader holds the log; its writer cannot settle it")
        finally:
            old.close()
        self.tree = self._tree(end)
        if end == old.first:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        self._begin(end)

    def perform(self, order: Order) -> Done:
        """Carry out ``order`` on the live segment and the keys. Raises: sqlite3.Error, LedgerError.

        Whoever goes on with the segments behind it calls ``perform_closed`` afterwards: what becomes one of them in
        between was seen here.
        """
        live = self._segment
        if order.kind == "rewrap":
            self._vault.ready()
            self._vault.rewrap_subjects(self.shard)
        done = perform(order, live, self._vault, live=True) if live is not None else Done()
        if order.subject:
            self._vault.forget_subject(self.shard, bytes.fromhex(order.subject))
        return done

    def perform_closed(self, order: Order) -> Done:
        """Carry out ``order`` on the segments behind the live one, which nobody appends to. For any one thread.

        Raises: sqlite3.Error, LedgerError.
        """
        done, vault = Done(), Vault(self._vault.keys)
        vault.ready()
        covered = self.tree.size // WIDTH * WIDTH  # leaves whose hashes are in full tiles
        for path, end in sealing.closed(self.directory):
            if order.kind == "prune" and end > covered:
                continue
            with sealing.reopened(path, self.shard) as closed:
                done += perform(order, closed, vault, live=False)
        return done

    def close(self, *, settle: bool = False) -> None:
        """Close the file and release the lock; safe to call twice.

        With ``settle`` the log is moved into its file first, so that the file is whole by itself. Never after a
        failed commit.
        """
        if settle and self._segment is not None:
            with contextlib.suppress(sqlite3.Error):  # everything is durable in the log; the next open moves it
                self._segment.checkpoint(truncate=True)
        self._drop()
        self._vault.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _sealed(self, entries: Sequence[Entry]) -> tuple[list[tuple[int, Sealed]], list[Block]]:
        """What is kept beside the records, encrypted: rows of their own, and blocks of salts."""
        payloads: list[tuple[int, Sealed]] = []
        salts: dict[tuple[str, int], dict[int, bytes]] = {}  # by tenant and end of their time
        until = self._clock_us() + self._payload_us
        for seq, _, payload, *_ in entries:
            if payload is None:
                continue
            if payload.body or payload.subject:
                payloads.append((seq, self._vault.seal(payload, f"{self.shard}/{seq}", until)))
            else:
                salts.setdefault((payload.tenant, payload.expires_us or until), {})[seq] = payload.salts
        return payloads, [
            self._vault.seal_block(some, self.shard, tenant, end) for (tenant, end), some in salts.items()
        ]

    def _load(self) -> None:
        for draft in self.directory.glob("*.db.new"):
            draft.unlink()
        paths = segment.files(self.directory)
        if not paths:
            self._begin(0)
            return
        self._segment = Segment.open(paths[-1], self.shard)
        self._bytes = paths[-1].stat().st_size
        self.tree = self._tree(self._segment.end())
        self._check_signed()

    def _check_signed(self) -> None:
        """A shard that is older than a head that was signed for it must not be continued: that would be a fork."""
        signed = heads.newest(self.directory)
        if signed is None:
            return
        if signed.head.size > self.size:
            raise LedgerRolledBack(
                f"{self.directory} holds {self.size} records, but a head over {signed.head.size} was signed: "
                "it was restored from an old copy or its tail was cut; bring back the missing segments"
            )
        if self._tree(signed.head.size).root() != signed.head.root:
            raise LedgerCorrupt(
                f"{self.directory}: the first {signed.head.size} records are not those that were signed"
            )

    def _tree(self, size: int) -> Tree:
        reader = ShardReader(self.directory.parent, self.shard)
        try:
            return load_tree(reader, size)
        finally:
            reader.close()

    def _live(self) -> Segment:
        live = self._segment
        if live is None:
            raise LedgerError(f"{self.directory} is closed")
        if not self._full(live):
            return live
        live.checkpoint(truncate=True)
        self._drop()
        return self._begin(self.tree.size)

    def _full(self, live: Segment) -> bool:
        return self.tree.size - live.first >= self._segment_leaves or self._bytes >= self._segment_bytes

    def _begin(self, first: int) -> Segment:
        path = segment.create(self.directory, self.shard, first, self.tree.root())
        self._segment = Segment.open(path, self.shard)
        self._bytes = self._wal = 0
        return self._segment

    def _drop(self) -> None:
        if self._segment is not None:
            with contextlib.suppress(sqlite3.Error):  # what was acknowledged is synced; the next open looks again
                self._segment.close()
            self._segment = None
