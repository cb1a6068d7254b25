"""What may be done to stored records later: erase payloads, let them expire, change their keys, prune old leaves.

The tree is never touched: tiles stay, so a ledger verifies before and after, and receipts stay valid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from gateway.ledger import record
from gateway.ledger.sealed import Block, Sealed
from gateway.ledger.segment import MAX_BLOCK, Segment, files, first_seq
from gateway.ledger.vault import Vault

LEAF_FLOOR_DAYS = 183
"""Regulation (EU) 2024/1689, Articles 19(1) and 26(6): logs are kept for at least six months."""


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One thing to be done to one shard, by its writer.

    ``subject`` is the keyed digest (hex) of whose payloads go, ``seqs`` names single records, ``before_us`` is a
    wall-clock bound, ``held`` are models whose payloads must stay ("*" for all). ``actor`` and ``reason`` are
    recorded.
    """

    id: str
    kind: Literal["erase", "expire", "rewrap", "prune"]
    actor: str
    reason: str
    subject: str = ""
    seqs: tuple[int, ...] = ()
    before_us: int = 0
    held: tuple[str, ...] = ()


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What an order did: ``records`` are sequence numbers, in order; ``kept`` were held back."""

    records: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()

    def __add__(self, other: Done) -> Done:
        return Done(records=self.records + other.records, kept=self.kept + other.kept)

    def ranges(self, most: int = 1_000) -> list[str]:
        """``records`` as text, ``a`` or ``a-b``, at most ``most`` entries (then one that spans the rest)."""
        spans: list[list[int]] = []
        for seq in self.records:
            if spans and seq == spans[-1][1] + 1:
                spans[-1][1] = seq
            else:
                spans.append([seq, seq])
        if len(spans) > most:
            spans[most - 1 :] = [[spans[most - 1][0], spans[-1][1]]]
        return [str(first) if first == last else f"{first}-{last}" for first, last in spans]


def perform(order: Order, segment: Segment, vault: Vault, *, live: bool) -> Done:
    """Carry out ``order`` on one segment, durably. ``live`` says that records are still appended to it.

    Raises: sqlite3.Error, KeyMissing, LedgerCorrupt.
    """
    act: Callable[[Order, Segment, Vault], Done] = {"erase": _erase, "expire": _expire, "rewrap": _rewrap}.get(
        order.kind, _prune
    )
    if order.kind == "prune" and live:
        return Done()
    return act(order, segment, vault)


def _erase(order: Order, segment: Segment, vault: Vault) -> Done:
    unwanted = set(order.seqs)
    if order.subject:
        unwanted.update(seq for seq, _, _ in segment.payloads("subject = ?", [bytes.fromhex(order.subject)]))
    return _remove(segment, vault, unwanted)


def _expire(order: Order, segment: Segment, vault: Vault) -> Done:
    due = {seq for seq, _, _ in segment.payloads("expires_us < ?", [order.before_us])}
    for block in segment.blocks("expires_us < ?", [order.before_us]):
        due.update(block.numbers())
    kept = {seq for seq in due if _held(order.held, segment.leaf(seq))} if order.held else set()
    return Done(records=_remove(segment, vault, due - kept).records, kept=tuple(sorted(kept)))


def _remove(segment: Segment, vault: Vault, unwanted: set[int]) -> Done:
    """Delete what is kept of some records; a block that holds others too is written again without them."""
    if not unwanted:
        return Done()
    first, last = min(unwanted), max(unwanted)
    rows = unwanted.intersection(segment.kept(first, last))
    fresh, old, found = [], [], set()
    for block in segment.blocks("first BETWEEN ? AND ?", [first - MAX_BLOCK, last]):
        numbers = block.numbers()
        gone = unwanted.intersection(numbers)
        if not gone:
            continue
        old.append(block.first)
        found |= gone
        if len(gone) < len(numbers):
            item = record.decode(segment.leaf(block.first))
            salts = vault.open_block(block, item.shard, item.tenant)
            some = {seq: salt for seq, salt in salts.items() if seq not in gone}
            fresh.append(vault.seal_block(some, item.shard, item.tenant, block.expires_us))
    if rows or old:
        segment.replace(gone=sorted(rows), blocks_gone=old, blocks=fresh)
    return Done(records=tuple(sorted(rows | found)))


def _rewrap(order: Order, segment: Segment, vault: Vault) -> Done:
    rows: list[tuple[int, Sealed]] = []
    blocks: list[Block] = []
    for seq, sealed, leaf in segment.payloads("kek <> ?", [vault.generation]):
        item = record.decode(leaf)
        rows.append((seq, vault.rewrap(sealed, item.prediction_id, item.tenant)))
    for block in segment.blocks("kek <> ?", [vault.generation]):
        item = record.decode(segment.leaf(block.first))
        blocks.append(vault.rewrap_block(block, item.shard, item.tenant))
    if rows or blocks:
        segment.replace(rows=rows, blocks_gone=[block.first for block in blocks], blocks=blocks)
    return Done(records=tuple(sorted([seq for seq, _ in rows] + [seq for block in blocks for seq in block.numbers()])))


def _prune(order: Order, segment: Segment, vault: Vault) -> Done:
    if segment.pruned:
        return _pruned_before(order, segment)
    end, newest = segment.end(), segment.newest_us()
    if newest >= order.before_us:
        return Done()
    if order.held and any(_held(order.held, leaf) for leaf in segment.leaves()):
        return Done(kept=tuple(range(segment.first, end)))
    segment.prune(order.before_us)
    return Done(records=tuple(range(segment.first, end)))


def _pruned_before(order: Order, segment: Segment) -> Done:
    """What this very order pruned before a crash that kept it from being recorded; nothing of other orders."""
    if segment.pruned_us != order.before_us:
        return Done()
    following = min(first for path in files(segment.path.parent) if (first := first_seq(path)) > segment.first)
    return Done(records=tuple(range(segment.first, following)))


def _held(held: Sequence[str], leaf: bytes) -> bool:
    return "*" in held or (bool(held) and record.decode(leaf).model in held)
