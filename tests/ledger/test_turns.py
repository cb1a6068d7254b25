"""What is appended in one turn of the loop is one commit, and nothing of it is lost on the way to the thread."""

from __future__ import annotations

import asyncio

from gateway.ledger.gathering import PIECE

from .conftest import Open, a_call


async def test_records_of_one_turn_share_a_commit(open_shard: Open) -> None:
    ledger = await open_shard()
    ledger._tally()  # the boot record's commit

    await asyncio.gather(*[ledger.append(a_call()) for _ in range(PIECE)])

    assert (ledger._tally()["commits"], ledger.size) == (1, PIECE + 1)


async def test_a_long_turn_goes_to_disk_in_pieces(open_shard: Open) -> None:
    ledger = await open_shard()
    ledger._tally()
    waiting = [ledger.append(a_call()) for _ in range(4 * PIECE + 5)]

    assert [(await receipt).seq for receipt in waiting] == list(range(1, 4 * PIECE + 6))
    assert ledger._tally()["commits"] <= 5


async def test_records_appended_just_before_closing_are_durable(open_shard: Open) -> None:
    ledger = await open_shard()
    waiting = [ledger.append(a_call()) for _ in range(5)]

    await ledger.close()

    assert [(await receipt).seq for receipt in waiting] == [1, 2, 3, 4, 5]


async def test_a_lone_record_waits_for_one_commit(open_shard: Open) -> None:
    ledger = await open_shard()
    for _ in range(20):
        before = ledger.commits
        await ledger.append(a_call(boot=ledger.boot))
        assert ledger.commits == before + 1
