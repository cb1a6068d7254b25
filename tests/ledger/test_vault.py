"""Payload encryption: opens only in its place, under its key, for its tenant; keys are files of our own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.errors import KeyMissing, LedgerCorrupt
from gateway.ledger.ledger import Payload
from gateway.ledger.payload_keys import FileKeys
from gateway.ledger.sealed import Sealed
from gateway.ledger.vault import Vault


@pytest.fixture
def keys(tmp_path: Path) -> FileKeys:
    return made(tmp_path / "keys")


def made(directory: Path) -> FileKeys:
    keys = FileKeys(directory)
    keys.prepare()
    return keys


@given(st.binary(max_size=200), st.binary(max_size=500), st.text(max_size=10))
def test_what_is_sealed_opens_again(
    tmp_path_factory: pytest.TempPathFactory, salts: bytes, body: bytes, tenant: str
) -> None:
    vault = Vault(made(tmp_path_factory.mktemp("k")))
    for subject in ("", "s"):
        sealed = vault.seal(Payload(salts=salts, body=body, tenant=tenant, subject=subject), "gw.0/7")
        assert vault.open(sealed, "gw.0/7", tenant) == (salts, body)
        if len(body) > 8:
            assert body not in sealed.body


@pytest.mark.parametrize("body", [b"body", b""])
def test_it_opens_nowhere_else(keys: FileKeys, body: bytes) -> None:
    vault = Vault(keys)
    sealed = vault.seal(Payload(salts=b"s", body=body, tenant="acme"), "gw.0/7")
    flipped = sealed._replace(body=bytes([sealed.body[0] ^ 1]) + sealed.body[1:])
    for item, place, tenant in ((sealed, "gw.0/8", "acme"), (sealed, "gw.0/7", "other"), (flipped, "gw.0/7", "acme")):
        with pytest.raises(LedgerCorrupt, match="does not open"):
            vault.open(item, place, tenant)


@pytest.mark.parametrize("body", [b"body", b""])
def test_equal_payloads_never_look_alike(keys: FileKeys, body: bytes) -> None:
    vault, payload = Vault(keys), Payload(salts=b"s", body=body, tenant="acme")
    assert len({vault.seal(payload, "gw.0/7").body for _ in range(50)}) == 50


def test_no_key_and_no_nonce_comes_twice(keys: FileKeys) -> None:
    """Bodies have nonce zero: the same salts look alike only under the same key."""
    vault = Vault(keys)
    blocks = [vault.seal_block({7: b"s" * 64}, "gw.0", "acme", None) for _ in range(1_000)]
    rows = [vault.seal(Payload(salts=b"s" * 64, body=b"b", tenant="acme"), "gw.0/7") for _ in range(1_000)]
    assert len({block.body for block in blocks} | {row.body for row in rows}) == 2_000
    assert len({item.dek[:12] for item in [*blocks, *rows]}) == 2_000


def salts_of(count: int) -> dict[int, bytes]:
    return {7 + 3 * i: bytes([i]) * (32 + 32 * (i % 2)) for i in range(count)}


@given(st.integers(1, 300), st.text(max_size=10))
def test_a_block_of_salts_opens_again(tmp_path_factory: pytest.TempPathFactory, count: int, tenant: str) -> None:
    vault, salts = Vault(made(tmp_path_factory.mktemp("k"))), salts_of(count % 256)
    salts = salts or {0: b""}
    block = vault.seal_block(salts, "gw.0", tenant, None)
    assert vault.open_block(block, "gw.0", tenant) == salts
    assert block.numbers() == list(salts)


def test_a_block_opens_nowhere_else(keys: FileKeys) -> None:
    vault = Vault(keys)
    block = vault.seal_block(salts_of(3), "gw.0", "acme", None)
    moved, shifted = block._replace(first=8), block._replace(distances=block.distances[:-1] + b"\x07")
    for item, shard, tenant in ((block, "gw.1", "acme"), (block, "gw.0", "other"), (moved, "gw.0", "acme")):
        with pytest.raises(LedgerCorrupt, match="does not open"):
            vault.open_block(item, shard, tenant)
    with pytest.raises(LedgerCorrupt, match="does not open"):
        vault.open_block(shifted, "gw.0", "acme")


def test_a_record_of_a_block_opens_in_its_place_only(keys: FileKeys) -> None:
    vault, salts = Vault(keys), salts_of(3)
    block = vault.seal_block(salts, "gw.0", "acme", None)
    row = Sealed(block.kek, block.dek, None, None, block.body, (block.first, block.distances))
    for seq in (*salts, *salts):
        assert vault.open(row, f"gw.0/{seq}", "acme") == (salts[seq], b"")
    flipped = row._replace(body=bytes([row.body[0] ^ 1]) + row.body[1:])
    for item, place, tenant in ((row, "gw.1/7", "acme"), (row, "gw.0/7", "other"), (flipped, "gw.0/7", "acme")):
        with pytest.raises(LedgerCorrupt, match="does not open"):
            vault.open(item, place, tenant)


def test_a_block_moves_to_the_next_generation(keys: FileKeys) -> None:
    vault = Vault(keys)
    block = vault.seal_block(salts_of(3), "gw.0", "acme", 5)
    keys.rotate(2)
    vault.ready()
    moved = vault.rewrap_block(block, "gw.0", "acme")
    keys.destroy(1)
    assert (moved.kek, moved.body, moved.expires_us) == (2, block.body, 5)
    assert Vault(keys).open_block(moved, "gw.0", "acme") == salts_of(3)
    with pytest.raises(KeyMissing):
        Vault(keys).open_block(block, "gw.0", "acme")


def test_a_subjects_payloads_share_its_key_and_never_a_nonce(keys: FileKeys) -> None:
    vault = Vault(keys)
    rows = [vault.seal(Payload(salts=b"s", subject="alice", tenant="acme"), f"gw.0/{i}") for i in range(50)]
    assert {row.dek for row in rows} == {b""}
    assert len({row.body[:12] for row in rows}) == 50
    assert [Vault(keys).open(row, f"gw.0/{i}", "acme")[0] for i, row in enumerate(rows)] == [b"s"] * 50


def test_without_its_key_nothing_of_a_subject_opens_and_a_later_call_gets_another(keys: FileKeys) -> None:
    vault = Vault(keys)
    hers = vault.seal(Payload(salts=b"s", body=b"x", subject="alice", tenant="acme"), "gw.0/1")
    his = vault.seal(Payload(salts=b"s", body=b"y", subject="bob", tenant="acme"), "gw.0/2")
    alice = vault.subject("acme", "alice")
    assert vault.forget_subject("gw.0", alice)
    assert not vault.forget_subject("gw.0", alice)
    for reading in (vault, Vault(keys)):
        with pytest.raises(KeyMissing, match="its payloads were erased"):
            reading.open(hers, "gw.0/1", "acme")
    assert Vault(keys).open(his, "gw.0/2", "acme") == (b"s", b"y")
    again = vault.seal(Payload(salts=b"t", subject="alice", tenant="acme"), "gw.0/3")
    assert Vault(keys).open(again, "gw.0/3", "acme") == (b"t", b"")
    with pytest.raises(LedgerCorrupt, match="does not open"):
        Vault(keys).open(hers, "gw.0/1", "acme")


def test_a_destroyed_subject_key_is_in_no_file_of_the_keys(keys: FileKeys) -> None:
    vault = Vault(keys)
    vault.seal(Payload(salts=b"s", subject="alice", tenant="acme"), "gw.0/1")
    stored = keys.subjects("gw.0").get(vault.subject("acme", "alice"))
    assert stored is not None
    vault.forget_subject("gw.0", stored.digest)
    vault.close()
    for path in keys.directory.rglob("*"):
        if path.is_file():
            assert stored.dek[12:] not in path.read_bytes(), path
            assert b"alice" not in path.read_bytes(), path
            assert path.stat().st_mode & 0o077 == 0, path


def test_subject_keys_move_to_the_next_generation(keys: FileKeys) -> None:
    vault = Vault(keys)
    hers = vault.seal(Payload(salts=b"s", subject="alice", tenant="acme"), "gw.0/1")
    keys.rotate(2)
    vault.ready()
    assert (vault.rewrap_subjects("gw.0"), vault.rewrap_subjects("gw.0")) == (1, 0)
    vault.close()
    keys.destroy(1)
    assert Vault(keys).open(vault.rewrap(hers, "gw.0/1", "acme"), "gw.0/1", "acme") == (b"s", b"")


@pytest.mark.parametrize("body", [b"body", b""])
def test_rotation_keeps_what_was_rewrapped_and_destruction_loses_the_rest(keys: FileKeys, body: bytes) -> None:
    vault = Vault(keys)
    kept, lost = (vault.seal(Payload(salts=b"s", body=body, tenant="acme"), f"gw.0/{i}") for i in range(2))
    keys.rotate(2)
    vault.ready()
    moved = vault.rewrap(kept, "gw.0/0", "acme")
    keys.destroy(1)
    later = Vault(keys)
    assert (moved.kek, moved.body) == (2, kept.body)
    assert later.open(moved, "gw.0/0", "acme") == (b"s", body)
    with pytest.raises(KeyMissing, match=r"kek-000001\.key is missing"):
        later.open(lost, "gw.0/1", "acme")
    assert later.seal(Payload(salts=b"", body=b""), "gw.0/2").kek == 2


def test_subjects_are_found_by_tenant_and_key_only(keys: FileKeys, tmp_path: Path) -> None:
    vault = Vault(keys)
    assert vault.subject("acme", "s-1") == Vault(keys).subject("acme", "s-1") != vault.subject("other", "s-1")
    assert vault.subject("acme", "s-1") != Vault(made(tmp_path / "elsewhere")).subject("acme", "s-1")


def test_key_files_are_private_and_a_damaged_one_is_named(keys: FileKeys) -> None:
    Vault(keys).ready()
    paths = sorted(keys.directory.iterdir())
    assert [path.name for path in paths] == ["index.key", "kek-000001.key"]
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    paths[1].write_text("feed\n")
    with pytest.raises(KeyMissing, match="2 bytes, a key has 32"):
        Vault(keys).ready()
    paths[1].write_text("not hex\n")
    with pytest.raises(KeyMissing, match="cannot be read as a key"):
        Vault(keys).ready()


def test_workers_that_start_together_agree_on_the_first_keys(keys: FileKeys) -> None:
    secrets = (keys.secret(1), keys.index_secret())
    keys.prepare()
    assert (keys.current(), keys.secret(1), keys.index_secret()) == (1, *secrets)


@pytest.mark.parametrize("lost", ["kek-000001.key", "index.key"])
def test_a_lost_key_is_refused_not_replaced(keys: FileKeys, lost: str) -> None:
    (keys.directory / lost).unlink()
    with pytest.raises(KeyMissing, match="restore it"):
        Vault(keys).ready()
    assert not (keys.directory / lost).exists()
