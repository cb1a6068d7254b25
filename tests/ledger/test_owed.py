"""What a writer that died owed: told once by the next one, exactly, however the lives before it ended."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger import events
from gateway.ledger.export import leaves
from gateway.ledger.ledger import Encode, Payload
from gateway.ledger.owed import OwedPage, settle
from gateway.ledger.payload_keys import FileKeys
from gateway.ledger.store import Store
from gateway.ledger.vault import Vault
from gateway.ledger.verify import verify_data
from gateway.types import Receipt

from .conftest import a_call, clock_us

SHARD = "gw.0"


class Life(NamedTuple):
    """One process: calls recorded, beats after these of them, calls left without a record, and how it ends."""

    recorded: int = 0
    beats: Sequence[int] = ()
    open: int = 0
    found: int = 0
    ends: str = "killed"


class Writer:
    """A shard's writer that can die at once: everything it appends is durable, and nothing is written at its end."""

    def __init__(self, root: Path, boot: str) -> None:
        self._store = Store(root / SHARD, Vault(FileKeys(root.parent / "keys" / "payload")), clock_us=clock_us)
        self.shard = SHARD
        self.boot = boot
        self._store.open()
        self.event("boot", size=self._store.size, root=self._store.tree.root().hex())

    def append(self, encode: Encode, payload: Payload | None = None) -> asyncio.Future[Receipt]:
        seq = self._store.size
        self._store.commit([(seq, encode(SHARD, seq), None)])
        done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        done.set_result(Receipt(SHARD, seq, b""))
        return done

    def event(self, kind: str, **fields: events.Value) -> None:
        seq = self._store.size
        self._store.commit(
            [(seq, events.event(kind, boot=self.boot, t_us=clock_us(), fields=fields)(SHARD, seq), None)]
        )

    def size(self) -> int:
        return self._store.size

    async def close(self) -> None:
        self._store.close()


def a_page(root: Path, machine: str = "m1") -> OwedPage:
    root.mkdir(parents=True, exist_ok=True)
    page = OwedPage(root.parent / "owed", machine=machine)
    page.open()
    return page


async def live(root: Path, number: int, life: Life) -> None:
    """Open, settle, serve, end."""
    page = a_page(root)
    writer = Writer(root, f"{number:016x}")
    if life.ends == "killed before it settled":
        await writer.close()
        return
    await settle(writer, root, page, clock_us=clock_us)
    for n in range(life.recorded):
        page.place[0] += 1
        writer.append(a_call(boot=writer.boot))
        if n in life.beats:
            writer.event("beat", started=n + 1, inflight=0, shed=0, unrecorded=0)
    first = writer.size()
    for _ in range(life.found):  # committed after all, though the commit had failed and their callers were told
        writer.append(a_call(boot=writer.boot))
    if life.found:
        writer.event("recover", expected=first, found_first=first, found_last=first + life.found - 1)
    page.place[0] += life.open
    if life.ends == "shutdown":
        writer.event(
            "shutdown", started=life.recorded + life.open + life.found, inflight=life.open, unrecorded=life.found
        )
    await writer.close()


def told(root: Path) -> list[dict[str, object]]:
    found = [events.decode(leaf) for leaf in leaves(root, SHARD) if b'"kind":"recover"' in leaf[:40]]
    return [dict(event.fields) for event in found if "owed" in event.fields]


lives = st.builds(
    Life,
    recorded=st.integers(0, 6),
    beats=st.lists(st.integers(0, 6), max_size=2),
    open=st.integers(0, 3),
    found=st.integers(0, 2),
    ends=st.sampled_from(["killed", "killed", "shutdown", "killed before it settled"]),
)


@given(st.lists(lives, max_size=5))
@settings(max_examples=40, deadline=None)
async def test_every_death_is_told_once_and_exactly(past: list[Life]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data" / "ledger"
        for number, life in enumerate(past):
            await live(root, number, life)
        await live(root, len(past), Life(ends="shutdown"))
        died = [(f"{n:016x}", life) for n, life in enumerate(past) if life.ends == "killed"]
        assert told(root) == [
            {
                "after": boot,
                "owed": life.recorded + life.open,
                "recorded": life.recorded,
                "unanswered": life.open,
            }
            for boot, life in died
        ]
        report = verify_data(root.parent)
        assert [f for f in report.findings if f.verdict == "COUNTS"] == []
        assert sum(item.unanswered for item in report.coverage) == sum(life.open for _, life in died)


async def test_what_an_earlier_run_of_the_machine_left_is_not_believed(root: Path) -> None:
    await live(root, 1, Life(recorded=3, open=2))
    writer = Writer(root, "2".zfill(16))
    fields = await settle(writer, root, a_page(root, machine="m2"), clock_us=clock_us)
    assert fields == {"after": "1".zfill(16)}
    await writer.close()
    assert [event["kind"] for event in _events(root)][-1] == "recover"
    assert _events(root)[-1]["reason"] == "count_lost"


async def test_a_shard_that_is_new_has_nothing_to_tell(root: Path) -> None:
    writer = Writer(root, "1".zfill(16))
    page = a_page(root)
    assert await settle(writer, root, page, clock_us=clock_us) == {}
    assert (page.boot, page.place[0]) == (writer.boot, 0)
    await writer.close()


async def test_a_false_account_is_found_by_verification(root: Path) -> None:
    await live(root, 1, Life(recorded=3, open=2))
    writer = Writer(root, "2".zfill(16))
    writer.event("recover", after="1".zfill(16), owed=4, recorded=3, unanswered=0)
    await writer.close()
    (finding,) = [f for f in verify_data(root.parent).findings if f.verdict == "COUNTS"]
    assert "4 calls owed a record, but 3 are recorded and 0 told to be unanswered" in finding.text


def _events(root: Path) -> list[dict[str, object]]:
    found = [events.decode(leaf) for leaf in leaves(root, SHARD) if b'"kind":"call"' not in leaf[:40]]
    return [{"kind": event.kind, "reason": event.reason, **event.fields} for event in found]
