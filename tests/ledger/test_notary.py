"""The notary signs what it has read, nothing that contradicts it, and survives restarts, rotations and rollbacks."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.ledger import heads, note, segment, signature
from gateway.ledger.errors import KeyMissing, LedgerLocked
from gateway.ledger.logkeys import Keyring, LogKeys
from gateway.ledger.notary import Notary
from gateway.ledger.verdict import Verdict
from gateway.ledger.verify import verify_data

from . import forgery
from .conftest import Open, clock_us, fill


@pytest.fixture
def keys(root: Path) -> LogKeys:
    return LogKeys(root.parent / "keys" / "log")


@pytest.fixture
def notary(root: Path, keys: LogKeys) -> Notary:
    return Notary(root, keys, clock_us=clock_us, origin="log.example")


async def test_a_head_is_signed_when_a_shard_grew_and_only_then(root: Path, open_shard: Open, notary: Notary) -> None:
    ledger = await open_shard()
    await fill(ledger, 300)
    notary.open()
    first = notary.step()
    assert (first["gw.0"].origin, first["gw.0"].size) == ("log.example/gw.0", 301)
    assert notary.step() == {}
    await fill(ledger, 1)
    assert notary.step()["gw.0"].size == 302
    stored = heads.newest(root / "gw.0")
    assert stored is not None
    assert signature.verify(stored.signed, Keyring(root / "keyring").for_head("log.example/gw.0", 302))
    report = verify_data(root.parent)
    assert report.ok
    assert (report.coverage[0].heads, report.coverage[0].head) == (1, 302)
    notary.close()


async def test_there_is_one_notary(open_shard: Open, root: Path, keys: LogKeys, notary: Notary) -> None:
    notary.open()
    with pytest.raises(LedgerLocked):
        Notary(root, keys, clock_us=clock_us).open()
    notary.close()


async def test_a_restarted_notary_goes_on_from_what_it_signed(root: Path, open_shard: Open, keys: LogKeys) -> None:
    ledger = await open_shard(segment_leaves=100)
    for size in (301, 601, 901):
        await fill(ledger, 300)
        one = Notary(root, keys, clock_us=clock_us)
        one.open()
        assert one.step()["gw.0"].size == size
        one.anchor()
        one.close()
    assert [stored.head.size for stored in heads.anchored(root / "gw.0")] == [301, 601, 901]
    report = verify_data(root.parent)
    assert report.findings == []
    assert report.coverage[0].heads == 4


async def test_it_refuses_a_tree_that_is_not_the_one_it_signed(root: Path, open_shard: Open, notary: Notary) -> None:
    ledger = await open_shard()
    await fill(ledger, 20)
    notary.open()
    notary.step()
    await ledger.close()
    notary.close()
    db = sqlite3.connect(segment.files(root / "gw.0")[0], isolation_level=None)
    db.execute("UPDATE leaf SET leaf = CAST(replace(CAST(leaf AS TEXT), 'acme', 'evil') AS BLOB) WHERE seq = 7")
    db.close()
    before = (root / "gw.0" / "checkpoint").read_bytes()
    notary.open()
    assert notary.step() == {}
    assert "not those that were signed" in notary.alarms["gw.0"]
    assert (root / "gw.0" / "checkpoint").read_bytes() == before
    notary.close()


def half_gone(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: list[Callable[[Path], None]] = [
    half_gone,
    lambda path: path.write_bytes(b"not a database, whatever its name may be" * 200),
    lambda path: forgery.execute(path, "UPDATE state SET size = NULL"),
    lambda path: forgery.execute(path, "DROP TABLE state"),
    lambda path: forgery.execute(path, "UPDATE head SET note = CAST(x'ff' AS TEXT)"),
    lambda path: forgery.execute(path, "UPDATE head SET note = 'text'"),
    lambda path: forgery.execute(path, "UPDATE state SET root = x'00'"),
]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_table_of_heads_is_an_alarm_and_stops_no_other_shard(
    root: Path, open_shard: Open, keys: LogKeys, damage: Callable[[Path], None]
) -> None:
    for shard in ("gw.0", "gw.1"):
        await fill(await open_shard(shard), 300)
    one = Notary(root, keys, clock_us=clock_us)
    one.open()
    one.step()
    one.anchor()
    one.close()
    shutil.copy(root / "gw.0" / "checkpoints.db", root / "whole.db")
    damage(root / "gw.0" / "checkpoints.db")
    other = Notary(root, keys, clock_us=clock_us)
    other.open()
    assert "gw.1" in other.step()
    kept = other.anchor()
    other.step()
    assert set(kept) == {"gw.1"}
    assert set(other.alarms) == {"gw.0"}
    shutil.copy(root / "whole.db", root / "gw.0" / "checkpoints.db")
    assert "gw.0" in other.step()
    assert set(other.anchor()) == {"gw.0", "gw.1"}
    assert other.alarms == {}
    other.close()


async def test_heads_that_cannot_be_kept_stay_an_alarm_until_they_are(
    root: Path, open_shard: Open, notary: Notary
) -> None:
    """What is read to sign may be whole where what is written to anchor is not."""
    ledger = await open_shard()
    await fill(ledger, 300)
    notary.open()
    notary.step()
    notary.anchor()
    path = root / "gw.0" / "checkpoints.db"
    shutil.copy(path, root / "whole.db")
    forgery.execute(path, "DROP TABLE head", "CREATE TABLE head (size INTEGER PRIMARY KEY)")
    await fill(ledger, 1)
    assert "gw.0" in notary.step()
    assert notary.anchor() == {}
    assert "cannot be read" in notary.alarms["gw.0"]
    notary.step()
    assert "gw.0" in notary.alarms
    shutil.copy(root / "whole.db", path)
    notary.step()
    assert set(notary.anchor()) == {"gw.0"}
    assert notary.alarms == {}
    notary.close()


async def test_a_damaged_table_without_a_copy_can_be_removed(root: Path, open_shard: Open, notary: Notary) -> None:
    ledger = await open_shard()
    await fill(ledger, 300)
    notary.open()
    notary.step()
    notary.anchor()
    half_gone(root / "gw.0" / "checkpoints.db")
    await fill(ledger, 1)
    notary.step()
    assert "gw.0" in notary.alarms
    notary.close()
    (root / "gw.0" / "checkpoints.db").unlink()
    notary.open()
    assert notary.step()["gw.0"].size == 302
    assert set(notary.anchor()) == {"gw.0"}
    assert notary.alarms == {}
    notary.close()
    assert verify_data(root.parent).ok


LOST: list[Callable[[Path], None]] = [
    lambda shard: forgery.execute(shard / "checkpoints.db", "DELETE FROM state"),
    lambda shard: (shard / "checkpoints.db").unlink(),
    lambda shard: forgery.execute(shard / "checkpoints.db", "UPDATE state SET size = 0, root = x'00'"),
    lambda shard: (shard / "checkpoint").unlink() or forgery.execute(shard / "checkpoints.db", "DELETE FROM state"),  # type: ignore[func-returns-value]  # one after the other
]


@pytest.mark.parametrize("lose", LOST)
async def test_no_second_root_is_signed_for_a_size_because_a_promise_was_lost(
    root: Path, open_shard: Open, keys: LogKeys, lose: Callable[[Path], None]
) -> None:
    ledger = await open_shard()
    await fill(ledger, 300)
    await ledger.close()
    one = Notary(root, keys, clock_us=clock_us)
    one.open()
    one.step()
    one.anchor()
    one.close()
    lose(root / "gw.0")
    forgery.rewrite(root / "gw.0", forgery.replaced(50))
    other = Notary(root, keys, clock_us=clock_us)
    other.open()
    assert other.step() == {}
    assert set(other.alarms) == {"gw.0"}
    other.close()


async def test_a_shard_older_than_its_head_is_neither_signed_nor_continued(
    root: Path, tmp_path: Path, open_shard: Open, notary: Notary
) -> None:
    ledger = await open_shard()
    await fill(ledger, 20)
    await ledger.close()
    backup = tmp_path / "backup.db"
    shutil.copy(segment.files(root / "gw.0")[0], backup)
    again = await open_shard()
    await fill(again, 20)
    await again.close()
    notary.open()
    notary.step()
    shutil.copy(backup, segment.files(root / "gw.0")[0])
    notary.close()
    notary.open()
    notary.step()
    assert "its tail is gone" in notary.alarms["gw.0"]
    notary.close()
    with pytest.raises(Exception, match="restored from an old copy") as caught:
        await open_shard()
    assert type(caught.value).__name__ == "LedgerRolledBack"
    assert [finding.verdict for finding in verify_data(root.parent).findings] == [Verdict.TRUNCATED]


async def test_a_lost_signing_key_is_refused_not_replaced(open_shard: Open, notary: Notary, keys: LogKeys) -> None:
    await open_shard()
    notary.open()
    notary.step()
    notary.close()
    shutil.rmtree(keys.directory)
    with pytest.raises(KeyMissing, match="holds no signing key, but heads were signed"):
        notary.open()


async def test_during_a_rotation_both_keys_sign_and_then_the_old_one_is_not_believed_further(
    root: Path, open_shard: Open, notary: Notary, keys: LogKeys
) -> None:
    ledger = await open_shard()
    notary.open()
    notary.step()
    notary.anchor()
    keys.make()
    await fill(ledger, 5)
    notary.step()
    notary.anchor()
    ring = Keyring(root / "keyring")
    old, new = (entry.key for entry in ring.entries())
    both = heads.newest(root / "gw.0")
    assert both is not None
    assert set(signature.verify(both.signed, [old, new])) == {old, new}
    keys.retire()
    ring.retire(old, 6)
    await fill(ledger, 5)
    notary.step()
    assert ring.for_head("gateway-ledger/gw.0", 6) == []
    assert ring.for_head("log.example/gw.0", 6) == [old, new]
    assert ring.for_head("log.example/gw.0", 11) == [new]
    assert verify_data(root.parent).ok
    notary.close()
    with pytest.raises(KeyMissing, match="holds one ed25519 key"):
        keys.retire()


async def test_post_quantum_signatures_join_on_anchored_heads(
    root: Path, open_shard: Open, notary: Notary, keys: LogKeys
) -> None:
    await open_shard()
    keys.make("ed25519")
    keys.make("mldsa44")
    notary.open()
    notary.step()
    notary.anchor()
    anchored = heads.anchored(root / "gw.0")[0]
    types = {
        key.type for key in signature.verify(anchored.signed, Keyring(root / "keyring").for_head("log.example/gw.0", 1))
    }
    assert types == {note.ED25519, note.ML_DSA_44}
    assert verify_data(root.parent).ok
    notary.close()
