"""The fake ledger can fail and hang on demand, and then behaves as a disk that does."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import LedgerUnavailable
from gateway.ledger import events, merkle
from gateway.ledger.memory import MemoryLedger

from .conftest import a_call
from .test_merkle import defined_root


async def test_a_failed_commit_fails_all_who_wait_and_numbers_go_on_without_a_hole() -> None:
    ledger = MemoryLedger()
    ledger.fail_next()
    lost = await asyncio.gather(*[ledger.append(a_call()) for _ in range(5)], return_exceptions=True)
    assert all(isinstance(item, LedgerUnavailable) for item in lost)
    assert [(await ledger.append(a_call())).seq for _ in range(2)] == [0, 1]
    assert ledger.size == 2


async def test_a_hanging_disk_keeps_callers_waiting() -> None:
    ledger = MemoryLedger(queue_bound=3)
    ledger.hold()
    waiting = [ledger.append(a_call()) for _ in range(3)]
    await asyncio.sleep(0.01)
    assert not any(future.done() for future in waiting)
    assert (ledger.pending, ledger.size) == (3, 0)
    with pytest.raises(LedgerUnavailable, match="3 records wait"):
        ledger.append(a_call())
    ledger.release()
    assert [receipt.seq for receipt in await asyncio.gather(*waiting)] == [0, 1, 2]


async def test_it_grows_the_same_tree() -> None:
    ledger = MemoryLedger(boot={"version": "t"})
    await asyncio.gather(*[ledger.append(a_call()) for _ in range(300)])
    await ledger.close()
    assert ledger.tree.size == 302
    assert ledger.tree.root() == defined_root([merkle.leaf_hash(leaf) for leaf in ledger.leaves])
    assert events.decode(ledger.leaves[-1]).kind == "shutdown"
