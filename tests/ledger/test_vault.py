"""Payload encryption: opens only in its place, under its key, for its tenant; keys are files of our own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.errors import KeyMissing, LedgerCorrupt
from gateway.ledger.ledger import Payload
from gateway.ledger.vault import SHARED, FileKeys, Vault


@pytest.fixture
def keys(tmp_path: Path) -> FileKeys:
    return FileKeys(tmp_path / "keys")


@given(st.binary(max_size=200), st.binary(max_size=500), st.text(max_size=10))
def test_what_is_sealed_opens_again(
    tmp_path_factory: pytest.TempPathFactory, salts: bytes, body: bytes, tenant: str
) -> None:
    vault = Vault(FileKeys(tmp_path_factory.mktemp("k")))
    sealed = vault.seal(Payload(salts=salts, body=body, tenant=tenant, subject="s"), "gw.0/7")
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


def test_rows_of_salts_alone_share_a_key_per_tenant_but_never_a_nonce(keys: FileKeys) -> None:
    vault = Vault(keys)
    rows = [vault.seal(Payload(salts=b"s", tenant=f"t{i % 2}"), f"gw.0/{i}") for i in range(2 * SHARED + 4)]
    assert len({row.dek for row in rows}) == 4
    assert len({(row.dek, row.body[:4]) for row in rows}) == len(rows)
    for i in (0, 1, 2 * SHARED - 1, 2 * SHARED + 3):
        assert Vault(keys).open(rows[i], f"gw.0/{i}", f"t{i % 2}") == (b"s", b"")


@pytest.mark.parametrize("body", [b"body", b""])
def test_rotation_keeps_what_was_rewrapped_and_destruction_loses_the_rest(keys: FileKeys, body: bytes) -> None:
    vault = Vault(keys)
    kept, lost = (vault.seal(Payload(salts=b"s", body=body, tenant="acme"), f"gw.0/{i}") for i in range(2))
    keys.rotate(2)
    moved = vault.rewrap(kept, "gw.0/0", "acme", 2)
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
    assert vault.subject("acme", "s-1") != Vault(FileKeys(tmp_path / "elsewhere")).subject("acme", "s-1")


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


def test_workers_that_start_together_agree_on_the_first_key(keys: FileKeys) -> None:
    assert keys.current() == 1
    secret = keys.secret(1)
    keys.rotate(1)
    assert keys.secret(1) == secret
