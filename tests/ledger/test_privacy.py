"""Erasure, retention, holds and key rotation: contents go for good, the ledger verifies before and after."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from gateway.ledger import events, holds, orders, segment
from gateway.ledger.errors import KeyMissing, LedgerError
from gateway.ledger.export import leaves
from gateway.ledger.holds import Hold
from gateway.ledger.ledger import Payload
from gateway.ledger.payload_keys import FileKeys
from gateway.ledger.reader import ShardReader
from gateway.ledger.shard import ShardLedger
from gateway.ledger.upkeep import Done, Order
from gateway.ledger.vault import Vault
from gateway.ledger.verify import verify_data

from .conftest import Open, a_call, clock_us


async def keep(ledger: ShardLedger, count: int, subject: str, **fields: object) -> None:
    """Append calls whose payload belongs to ``subject``."""
    await asyncio.gather(
        *[
            ledger.append(
                a_call(boot=ledger.boot, payload="full", **fields),
                Payload(salts=b"S" * 64, body=b"planted-" + subject.encode(), subject=subject, tenant="acme"),
            )
            for _ in range(count)
        ]
    )


def order(kind: str, **fields: object) -> Order:
    given = {"id": orders.new_id(), "kind": kind, "actor": "eva", "reason": "ticket 1"} | fields
    return Order(**given)  # type: ignore[arg-type]


def payloads(root: Path, shard: str = "gw.0") -> dict[int, bytes]:
    """Everything that can still be read, by sequence number."""
    vault, reader = Vault(FileKeys(root.parent / "keys" / "payload")), ShardReader(root, shard)
    found = {}
    for seq in range(reader.size()):
        sealed = reader.payload(seq)
        if sealed is not None:
            found[seq] = vault.open(sealed, f"{shard}/{seq}", "acme")[1]
    reader.close()
    return found


def vault_of(root: Path) -> Vault:
    return Vault(FileKeys(root.parent / "keys" / "payload"))


async def test_payloads_are_kept_encrypted_and_can_be_opened(root: Path, open_shard: Open) -> None:
    ledger = await open_shard()
    await keep(ledger, 3, "alice")
    assert payloads(root) == {seq: b"planted-alice" for seq in (1, 2, 3)}
    for path in root.parent.rglob("*"):
        if path.is_file():
            assert b"planted-" not in path.read_bytes(), path


async def test_an_erased_subject_is_gone_from_every_file_and_the_ledger_verifies(root: Path, open_shard: Open) -> None:
    ledger = await open_shard(segment_leaves=20)
    for _ in range(3):
        await keep(ledger, 10, "alice")
        await keep(ledger, 10, "bob")
    reader = ShardReader(root, "gw.0")
    bodies = [sealed.body for seq in (1, 21, 55) if (sealed := reader.payload(seq)) and sealed.subject]
    alice = vault_of(root).subject("acme", "alice")
    hers = [body for body in bodies if body]
    reader.close()
    orders.place(root / "gw.0", order("erase", subject=alice.hex()))
    await ledger.carry_out()
    assert set(payloads(root).values()) == {b"planted-bob"}
    assert len(payloads(root)) == 30
    await ledger.close()
    survivors = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert sum(body in survivors for body in hers[:1]) == 0
    leaf = next(events.decode(leaf) for leaf in leaves(root, "gw.0") if b'"kind":"erase"' in leaf[:40])
    assert (leaf.actor, leaf.reason, leaf.fields["what"], leaf.fields["count"]) == ("eva", "ticket 1", "payload", 30)
    assert leaf.fields["records"] == ("1-10", "21-30", "41-50")
    assert not orders.waiting(root / "gw.0")
    assert verify_data(root.parent).findings == []


async def test_single_records_can_be_erased_while_others_are_appended(root: Path, open_shard: Open) -> None:
    ledger = await open_shard()
    await keep(ledger, 50, "alice")
    appending = asyncio.gather(*[keep(ledger, 50, "bob") for _ in range(5)])
    done = await ledger.perform(order("erase", seqs=(3, 4, 5, 900)))
    await appending
    assert done == Done(records=(3, 4, 5))
    assert {3, 4, 5}.isdisjoint(payloads(root))
    assert len(payloads(root)) == 297
    assert verify_data(root.parent).ok


async def test_an_erasure_that_a_reader_holds_up_deletes_nothing_and_can_be_repeated(
    root: Path, open_shard: Open
) -> None:
    ledger = await open_shard()
    await keep(ledger, 3, "alice")
    db = sqlite3.connect(f"{segment.files(root / 'gw.0')[0].absolute().as_uri()}?mode=ro", uri=True)
    db.execute("BEGIN")
    db.execute("SELECT count(*) FROM leaf").fetchone()
    await keep(ledger, 3, "bob")
    with pytest.raises(sqlite3.OperationalError, match="a reader holds the log"):
        await ledger.perform(order("erase", seqs=(2,)))
    assert len(payloads(root)) == 6
    db.close()
    assert (await ledger.perform(order("erase", seqs=(2,)))).records == (2,)


async def test_an_order_left_while_nothing_ran_is_carried_out_at_the_next_start(root: Path, open_shard: Open) -> None:
    ledger = await open_shard()
    await keep(ledger, 5, "alice")
    await ledger.close()
    orders.place(root / "gw.0", order("erase", seqs=(1, 2)))
    again = await open_shard(beat_s=0.01)
    for _ in range(500):
        if not orders.waiting(root / "gw.0"):
            break
        await asyncio.sleep(0.01)
    assert sorted(payloads(root)) == [3, 4, 5]
    await again.close()
    assert verify_data(root.parent).ok


async def test_payloads_expire_unless_their_model_is_held(root: Path, open_shard: Open) -> None:
    ledger = await open_shard(payload_days=0.0)
    await keep(ledger, 4, "alice", model="credit")
    await keep(ledger, 4, "alice", model="digits")
    root.mkdir(exist_ok=True)
    holds.add(root, Hold(model="credit", reason="court", actor="eva", since_us=1))
    done = await ledger.perform(order("expire", before_us=clock_us(), held=holds.held(root)))
    assert done == Done(records=(5, 6, 7, 8), kept=(1, 2, 3, 4))
    assert [hold.reason for hold in holds.release(root, "credit")] == ["court"]
    with pytest.raises(LedgerError, match="there is no hold on 'credit': held are none"):
        holds.release(root, "credit")
    assert (await ledger.perform(order("expire", before_us=clock_us()))).records == (1, 2, 3, 4)
    assert payloads(root) == {}


async def test_expiry_happens_by_itself(root: Path, open_shard: Open) -> None:
    ledger = await open_shard(payload_days=0.0, beat_s=0.01)
    await keep(ledger, 4, "alice")
    for _ in range(500):
        if not payloads(root):
            break
        await asyncio.sleep(0.01)
    await ledger.close()
    assert any(b'"reason":"retention"' in leaf for leaf in leaves(root, "gw.0"))


async def test_a_new_payload_key_makes_old_copies_unreadable(root: Path, tmp_path: Path, open_shard: Open) -> None:
    ledger = await open_shard(segment_leaves=10)
    await keep(ledger, 25, "")
    reader = ShardReader(root, "gw.0")
    old_copy = reader.payload(3)
    reader.close()
    assert old_copy is not None
    keys = FileKeys(root.parent / "keys" / "payload")
    keys.rotate(2)
    done = await ledger.perform(order("rewrap"))
    assert len(done.records) == 25
    keys.destroy(1)
    await keep(ledger, 1, "bob")
    assert len(payloads(root)) == 26
    with pytest.raises(KeyMissing):
        Vault(keys).open(old_copy, "gw.0/3", "acme")


async def test_an_erased_subject_is_unreadable_in_old_copies_of_the_records_at_once(
    root: Path, open_shard: Open
) -> None:
    ledger = await open_shard()
    await keep(ledger, 3, "alice")
    await keep(ledger, 3, "bob")
    reader = ShardReader(root, "gw.0")
    hers, his = reader.payload(2), reader.payload(5)
    reader.close()
    assert hers is not None
    assert his is not None
    await ledger.perform(order("erase", subject=vault_of(root).subject("acme", "alice").hex()))
    with pytest.raises(KeyMissing, match="its payloads were erased"):
        vault_of(root).open(hers, "gw.0/2", "acme")
    assert vault_of(root).open(his, "gw.0/5", "acme")[1] == b"planted-bob"
    await keep(ledger, 1, "alice")
    assert payloads(root)[7] == b"planted-alice"


@pytest.mark.parametrize("lost", ["kek-000001.key", "index.key"])
async def test_a_shard_whose_payload_keys_are_lost_is_not_opened(root: Path, open_shard: Open, lost: str) -> None:
    ledger = await open_shard()
    await keep(ledger, 1, "alice")
    await ledger.close()
    path = root.parent / "keys" / "payload" / lost
    secret = path.read_bytes()
    path.unlink()
    for shard in ("gw.0", "gw.1"):
        with pytest.raises(KeyMissing, match="restore it"):
            await open_shard(shard)
    assert not path.exists()
    path.write_bytes(secret)
    await open_shard()


async def test_salts_of_one_record_are_erased_out_of_their_block(root: Path, open_shard: Open) -> None:
    ledger = await open_shard()
    salts = {seq: bytes([seq]) * 64 for seq in range(1, 9)}
    await asyncio.gather(
        *[
            ledger.append(a_call(boot=ledger.boot, payload="digest"), Payload(salts=s, tenant="acme"))
            for s in salts.values()
        ]
    )
    done = await ledger.perform(order("erase", seqs=(3, 5, 700)))
    assert done.records == (3, 5)
    reader, vault = ShardReader(root, "gw.0"), vault_of(root)
    kept = {seq: vault.open(found, f"gw.0/{seq}", "acme")[0] for seq in salts if (found := reader.payload(seq))}
    reader.close()
    assert kept == {seq: salt for seq, salt in salts.items() if seq not in (3, 5)}
    keys = FileKeys(root.parent / "keys" / "payload")
    keys.rotate(2)
    assert (await ledger.perform(order("rewrap"))).records == (1, 2, 4, 6, 7, 8)
    keys.destroy(1)
    done = await ledger.perform(order("expire", before_us=1 << 62))
    assert done.records == (1, 2, 4, 6, 7, 8)
    assert reader.payload(4) is None
    reader.close()


def test_a_broken_hold_file_stops_deletion(root: Path) -> None:
    root.mkdir(parents=True)
    (root / "holds.json").write_text("[{]")
    with pytest.raises(LedgerError, match="until then nothing expires"):
        holds.held(root)


def test_ranges_are_bounded() -> None:
    assert Done(records=(1, 2, 3, 7, 9, 10)).ranges() == ["1-3", "7", "9-10"]
    assert Done(records=tuple(range(0, 5000, 2))).ranges(3) == ["0", "2", "4-4998"]
