"""What every ``Ledger`` promises, on disk and in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.errors import LedgerUnavailable
from gateway.ledger import events, merkle, record
from gateway.ledger.ledger import Ledger, Payload
from gateway.ledger.memory import MemoryLedger
from gateway.ledger.reader import ShardReader
from gateway.ledger.shard import ShardLedger
from gateway.types import Receipt

from .conftest import a_call, clock_us

Made = tuple[Ledger, Callable[[], list[bytes]]]
Make = Callable[..., Awaitable[Made]]


@pytest.fixture(params=["memory", "disk"])
async def make(request: pytest.FixtureRequest, root: Path) -> AsyncIterator[Make]:
    made: list[Ledger] = []

    async def memory(queue_bound: int = 64) -> Made:
        ledger = MemoryLedger("gw.0", boot={"version": "t"}, clock_us=clock_us, queue_bound=queue_bound)
        made.append(ledger)
        await asyncio.sleep(0)
        return ledger, lambda: list(ledger.leaves)

    async def disk(queue_bound: int = 64) -> Made:
        ledger = await ShardLedger.open(
            root, "gw.0", boot={"version": "t"}, clock_us=clock_us, queue_bound=queue_bound, beat_s=3600
        )
        made.append(ledger)

        def leaves() -> list[bytes]:
            reader = ShardReader(root, "gw.0")
            try:
                return [leaf for _, leaf in reader.read(0, 100_000)]
            finally:
                reader.close()

        return ledger, leaves

    yield memory if request.param == "memory" else disk
    for ledger in made:
        await ledger.close()


async def test_the_first_leaf_is_the_boot_record(make: Make) -> None:
    ledger, leaves = await make()
    boot = events.decode(leaves()[0])
    assert (boot.kind, boot.shard, boot.seq, boot.boot) == ("boot", "gw.0", 0, ledger.boot)
    assert boot.fields["version"] == "t"
    assert boot.fields["size"] == 0
    assert boot.fields["root"] == merkle.EMPTY.hex()


async def test_a_receipt_names_place_and_hash_of_a_leaf_that_can_be_read(make: Make) -> None:
    ledger, leaves = await make()
    receipts = await asyncio.gather(*[ledger.append(a_call(model=f"m{i}")) for i in range(10)])
    stored = leaves()
    assert [r.seq for r in receipts] == list(range(1, 11))
    for i, receipt in enumerate(receipts):
        leaf = stored[receipt.seq]
        assert receipt.leaf_hash == merkle.leaf_hash(leaf)
        assert receipt.prediction_id == f"gw.0/{i + 1}" == record.decode(leaf).prediction_id
        assert record.decode(leaf).model == f"m{i}"


async def test_the_future_is_not_done_before_the_record_is_durable(make: Make) -> None:
    ledger, leaves = await make()
    future = ledger.append(a_call())
    assert not future.done()
    receipt = await future
    assert len(leaves()) > receipt.seq


async def test_a_record_stays_though_its_task_is_cancelled_twice(make: Make) -> None:
    ledger, leaves = await make()

    async def call() -> None:
        await ledger.append(a_call(model="gone"))

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ledger.append(a_call())
    assert [record.decode(leaf).model for leaf in leaves()[1:]] == ["gone", ""]


async def test_nothing_is_numbered_when_encoding_fails(make: Make) -> None:
    ledger, _ = await make()

    def broken(shard: str, seq: int) -> bytes:
        raise RuntimeError("no bytes")

    with pytest.raises(RuntimeError):
        ledger.append(broken)
    with pytest.raises(ValueError, match="65535"):
        ledger.append(lambda shard, seq: b"x" * 65_536)
    assert (await ledger.append(a_call())).seq == 1


async def test_a_full_queue_refuses_at_once(make: Make) -> None:
    ledger, leaves = await make(queue_bound=8)
    futures = [ledger.append(a_call()) for _ in range(8)]
    with pytest.raises(LedgerUnavailable):
        ledger.append(a_call())
    await asyncio.gather(*futures)
    await ledger.append(a_call())
    assert len(leaves()) == 10


async def test_close_commits_what_waits_and_ends_with_a_shutdown_record(make: Make) -> None:
    ledger, leaves = await make()
    futures = [ledger.append(a_call()) for _ in range(20)]
    await ledger.close()
    assert all(future.done() for future in futures)
    assert [r.seq for r in (future.result() for future in futures)] == list(range(1, 21))
    assert events.decode(leaves()[-1]).kind == "shutdown"
    with pytest.raises(LedgerUnavailable):
        ledger.append(a_call())
    await ledger.close()


async def test_a_payload_is_accepted_and_stays_out_of_the_leaf(make: Make) -> None:
    ledger, leaves = await make()
    secret = b"planted-value"
    await ledger.append(a_call(), Payload(salts=b"s" * 64, body=secret, subject="s-1", tenant="acme"))
    assert secret not in b"".join(leaves())


BROKEN = 2


class Heard:
    """A waiter that writes down what it hears, in the order in which all of them hear; ``BROKEN`` then raises."""

    def __init__(self, name: int, said: list[tuple[int, object]]) -> None:
        self._name = name
        self._said = said

    def recorded(self, receipt: Receipt) -> None:
        self._said.append((self._name, receipt.seq))
        if self._name == BROKEN:
            raise ZeroDivisionError("a bug of one call")

    def unrecorded(self, error: LedgerUnavailable) -> None:
        self._said.append((self._name, error))


async def test_waiters_hear_once_in_order_and_only_of_what_can_be_read(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, leaves = await make()
    said: list[tuple[int, object]] = []
    for name in range(5):
        ledger.enter(a_call(), None, Heard(name, said))
    assert said == []  # never while it is entered
    await ledger.append(a_call())
    assert said == [(name, name + 1) for name in range(5)]  # whatever one of them raises
    assert [entry.message for entry in caplog.records] == ["ledger.waiter_failed"]
    assert len(leaves()) == 7


async def test_a_waiter_may_enter_what_follows_from_its_record(make: Make) -> None:
    ledger, leaves = await make()
    said: list[tuple[int, object]] = []

    class Follows(Heard):
        def recorded(self, receipt: Receipt) -> None:
            super().recorded(receipt)
            ledger.enter(a_call(), None, Heard(9, said))

    for name in (0, 1):
        ledger.enter(a_call(), None, Follows(name, said))
    while len(said) < 4:
        await asyncio.sleep(0.001)
    assert said == [(0, 1), (1, 2), (9, 3), (9, 4)]
    assert len(leaves()) == 5


async def test_who_is_refused_by_a_closed_ledger_hears_nothing_more(make: Make) -> None:
    ledger, _ = await make()
    await ledger.close()
    said: list[tuple[int, object]] = []
    with pytest.raises(LedgerUnavailable):
        ledger.enter(a_call(), None, Heard(0, said))
    await asyncio.sleep(0.01)
    assert said == []
