"""Lone records are committed on the loop while commits are quick: in order, one thread at a time, faults as ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import LedgerUnavailable
from gateway.ledger import events
from gateway.ledger.ledger import Payload
from gateway.ledger.payload_keys import FileKeys
from gateway.ledger.sealed import Block
from gateway.ledger.shard import ShardLedger
from gateway.ledger.short_way import SMALL, Pace
from gateway.ledger.upkeep import Order
from gateway.ledger.vault import Vault
from gateway.ledger.verify import verify

from .conftest import Open, a_call
from .test_shard import kinds, leaves

ALWAYS = 10**12
KEPT = Payload(salts=b"s" * 32, tenant="acme")


class Witness(Vault):
    """Notes which thread commits, notices when two do, and does once what it is told: wait, or fail."""

    def __init__(self, keys: FileKeys) -> None:
        super().__init__(keys)
        self.seen: list[bool] = []
        self.then: Callable[[], None] | None = None
        self._busy = threading.Lock()

    def seal_block(self, salts: Mapping[int, bytes], shard: str, tenant: str, expires_us: int | None) -> Block:
        assert self._busy.acquire(blocking=False), "two threads use the store"
        try:
            self.seen.append(threading.current_thread() is threading.main_thread())
            act, self.then = self.then, None
            if act is not None:
                act()
            return super().seal_block(salts, shard, tenant, expires_us)
        finally:
            self._busy.release()


@pytest.fixture
def witness(root: Path) -> Witness:
    return Witness(FileKeys(root.parent / "keys" / "payload"))


async def trusted(ledger: ShardLedger, payload: Payload | None = KEPT) -> None:
    """Append lone records until commits count as quick."""
    for _ in range(16):
        await ledger.append(a_call(boot=ledger.boot), payload)


async def test_a_lone_record_is_committed_on_the_loop_once_commits_are_quick(
    open_shard: Open, witness: Witness
) -> None:
    ledger = await open_shard(vault=witness, quick_ns=ALWAYS)
    for _ in range(20):
        before = ledger.commits
        await ledger.append(a_call(boot=ledger.boot), KEPT)
        assert ledger.commits == before + 1
    assert witness.seen[0] is False
    assert witness.seen[-8:] == [True] * 8


async def test_it_never_is_where_receipts_are_not_waited_for(open_shard: Open, witness: Witness) -> None:
    ledger = await open_shard(vault=witness, quick_ns=0)
    await trusted(ledger)
    assert not any(witness.seen)


async def test_company_goes_to_the_writer(open_shard: Open, witness: Witness) -> None:
    ledger = await open_shard(vault=witness, quick_ns=ALWAYS)
    await trusted(ledger)
    witness.seen.clear()
    await asyncio.gather(*[ledger.append(a_call(), KEPT) for _ in range(2)])
    await ledger.append(a_call(), KEPT)
    assert witness.seen == [False, False], "trust is gained anew after company"


@pytest.mark.parametrize("payload", [Payload(salts=b"s", subject="alice"), Payload(salts=b"s", body=bytes(SMALL + 1))])
async def test_what_may_take_long_goes_to_the_writer(open_shard: Open, witness: Witness, payload: Payload) -> None:
    ledger = await open_shard(vault=witness, quick_ns=ALWAYS)
    await trusted(ledger)
    future = ledger.append(a_call(), payload)
    await asyncio.sleep(0)
    assert ledger.pending == 1, "the loop did not wait for it"
    await future


async def test_a_new_segment_is_begun_by_the_writer(root: Path, open_shard: Open, witness: Witness) -> None:
    ledger = await open_shard(vault=witness, quick_ns=ALWAYS, segment_leaves=20)
    for _ in range(40):
        await ledger.append(a_call(boot=ledger.boot), KEPT)
    firsts = [seq for seq, there in enumerate(witness.seen, start=1) if not there and seq > 16]
    assert {20, 40} <= set(firsts)
    assert len(firsts) < 6  # more where the writer was at its desk after a pause, which a busy machine makes
    await ledger.close()
    assert verify(root).findings == []


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
async def test_a_fault_on_the_loop_goes_the_way_of_all_faults(
    root: Path, open_shard: Open, witness: Witness, error: Exception
) -> None:
    ledger = await open_shard(vault=witness, quick_ns=ALWAYS)
    await trusted(ledger)

    def fail() -> None:
        raise error

    witness.then = fail
    lost = ledger.append(a_call(model="lost"), KEPT)
    await asyncio.sleep(0)
    behind = ledger.append(a_call(model="lost"), KEPT)
    results = await asyncio.gather(lost, behind, return_exceptions=True)
    assert [type(result) for result in results] == [LedgerUnavailable] * 2
    assert witness.seen[-1] is True
    while ledger.fault:
        await asyncio.sleep(0.001)
    await ledger.append(a_call(boot=ledger.boot), KEPT)
    await ledger.close()
    recovered = [events.decode(leaf) for leaf in leaves(root) if b'"kind":"recover"' in leaf[:40]]
    assert [(item.reason, item.fields["unrecorded"]) for item in recovered] == [(type(error).__name__, 2)]
    assert not any(b'"lost"' in leaf for leaf in leaves(root))
    assert verify(root).findings == []


async def test_the_log_is_moved_though_the_loop_wrote_it(open_shard: Open, witness: Witness) -> None:
    ledger = await open_shard(vault=witness, quick_ns=ALWAYS)
    store = ledger._writer._store
    await trusted(ledger)
    for _ in range(2):
        await ledger.append(a_call(boot=ledger.boot), KEPT)
        assert store.wal_is_dirty
        for _ in range(500):
            if not store.wal_is_dirty:
                break
            await asyncio.sleep(0.01)
        assert not store.wal_is_dirty


async def test_closing_right_after_a_fault_answers_everyone(open_shard: Open, witness: Witness) -> None:
    ledger = await open_shard(vault=witness, quick_ns=ALWAYS)
    await trusted(ledger)

    def fail() -> None:
        raise OSError(5, "Input/output error")

    witness.then = fail
    lost = ledger.append(a_call(), KEPT)
    await asyncio.sleep(0)
    await asyncio.wait_for(ledger.close(), 5)
    assert isinstance(lost.exception(), LedgerUnavailable)


@pytest.mark.parametrize("seed", range(4))
async def test_orders_and_bursts_and_lone_records_mix(
    root: Path, open_shard: Open, witness: Witness, seed: int
) -> None:
    ledger = await open_shard(vault=witness, quick_ns=ALWAYS, segment_leaves=150)
    receipts = []
    for turn in range(120):
        await trusted(ledger) if turn % 40 == 0 else None
        if turn % 7 == seed:
            order = Order(id=f"o{turn}", kind="erase", actor="a", reason="r", seqs=(turn,))
            working = asyncio.ensure_future(ledger.perform(order))
            await asyncio.sleep(0)
            receipts.append(await ledger.append(a_call(boot=ledger.boot), KEPT))
            await working
        elif turn % 5 == seed:
            burst = [ledger.append(a_call(boot=ledger.boot), KEPT) for _ in range(3)]
            receipts += [await future for future in burst]
        else:
            receipts.append(await ledger.append(a_call(boot=ledger.boot), KEPT))
    await ledger.close()
    assert [receipt.seq for receipt in receipts] == sorted({receipt.seq for receipt in receipts})
    assert kinds(root).count("call") == len(leaves(root)) - 2
    assert True in witness.seen
    assert False in witness.seen
    assert verify(root).findings == []


@given(st.lists(st.integers(0, 4_999), max_size=300))
def test_a_slow_commit_is_remembered(took: list[int]) -> None:
    pace = Pace(500)
    for ns in took:
        pace.add(ns, 1)
    pace.add(50_000, 1)
    for _ in range(500):
        assert not pace.quick
        pace.add(100, 1)


@given(st.lists(st.integers(0, 10_000), max_size=50), st.integers(2, 256))
def test_company_makes_it_doubt(took: list[int], records: int) -> None:
    pace = Pace(500)
    for ns in took:
        pace.add(ns, 1)
    pace.add(10, records)
    assert not pace.quick


@given(st.integers(0, 200))
def test_eight_quick_commits_are_enough(ns: int) -> None:
    pace = Pace(500)
    for done in range(8):
        assert done >= 5 or not pace.quick
        pace.add(ns, 1)
    assert pace.quick


def test_an_outlier_below_the_worst_changes_little() -> None:
    pace = Pace(500)
    for _ in range(20):
        pace.add(300, 1)
    pace.add(2_499, 1)
    assert pace.quick


def test_a_disk_that_is_always_slow_is_never_waited_for() -> None:
    pace = Pace(500)
    for _ in range(2_000):
        pace.add(600, 1)
        assert not pace.quick


@pytest.mark.parametrize("quick_ns", [0, ALWAYS])
async def test_what_nobody_foresaw_ends_the_shard_and_leaves_nobody_waiting(
    open_shard: Open, witness: Witness, quick_ns: int
) -> None:
    ledger = await open_shard(vault=witness, quick_ns=quick_ns)
    await trusted(ledger)

    def fail() -> None:
        raise RuntimeError("nobody foresaw this")

    witness.then = fail
    with pytest.raises(LedgerUnavailable):
        await asyncio.wait_for(ledger.append(a_call(boot=ledger.boot), KEPT), 5)
    assert str(await asyncio.wait_for(asyncio.shield(ledger.broken), 5)) == "nobody foresaw this"
    with pytest.raises(LedgerUnavailable, match="gave up"):
        ledger.append(a_call(boot=ledger.boot), KEPT)
