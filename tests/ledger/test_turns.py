"""What is appended in one turn of the loop is one commit, and nothing of it is lost on the way to the thread."""

from __future__ import annotations

import asyncio

from gateway.ledger.writer import MAX_BATCH

from .conftest import Open, a_call


async def test_records_of_one_turn_share_a_commit(open_shard: Open) -> None:
    ledger = await open_shard()
    ledger._tally()  # the boot record's commit

    await asyncio.gather(*[ledger.append(a_call()) for _ in range(MAX_BATCH)])

    assert (ledger._tally()["commits"], ledger.size) == (1, MAX_BATCH + 1)


async def test_records_appended_just_before_closing_are_durable(open_shard: Open) -> None:
    ledger = await open_shard()
    waiting = [ledger.append(a_call()) for _ in range(5)]

    await ledger.close()

    assert [(await receipt).seq for receipt in waiting] == [1, 2, 3, 4, 5]
