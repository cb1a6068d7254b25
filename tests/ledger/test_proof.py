"""Receipts: every record can be proved alone, offline, and nothing else can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger import merkle, proof
from gateway.ledger.errors import LedgerError, NoSuchRecord
from gateway.ledger.export import leaves
from gateway.ledger.logkeys import Keyring, LogKeys
from gateway.ledger.notary import Notary
from gateway.ledger.note import VerifierKey
from gateway.ledger.proof import BadProof, NotSigned

from .conftest import Open, clock_us, fill
from .test_merkle import defined_root

STANDALONE = Path(proof.__file__).parent / "standalone" / "verify_ledger.py"


def standalone(*arguments: object) -> tuple[int, str]:
    """Run the one-file verifier as an auditor does."""
    done = subprocess.run(
        [sys.executable, "-I", str(STANDALONE), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
async def signed(root: Path, open_shard: Open) -> list[VerifierKey]:
    """700 calls over several segments, and a signed head; the keys to check it with."""
    ledger = await open_shard(segment_leaves=150)
    await fill(ledger, 700)
    notary = Notary(root, LogKeys(root.parent / "keys" / "log"), clock_us=clock_us)
    notary.open()
    notary.step()
    notary.close()
    await fill(ledger, 3)
    return Keyring(root / "keyring").for_head("gateway-ledger/gw.0", 701)


async def test_every_record_under_the_head_can_be_proved(root: Path, signed: list[VerifierKey]) -> None:
    for seq in [*range(0, 700, 37), 255, 256, 511, 512, 699, 700]:
        made = proof.prove(root, "gw.0", seq)
        again = proof.parse(str(made).encode())
        assert again == made
        assert proof.check(again, signed) == {signed[0]: 0}
        assert len(made.hashes) <= 10


async def test_what_is_not_covered_or_not_there_is_said(root: Path, signed: list[VerifierKey]) -> None:
    with pytest.raises(NotSigned, match="the signed head covers 701 records"):
        proof.prove(root, "gw.0", 702)
    with pytest.raises(NoSuchRecord):
        proof.prove(root, "gw.0", 99_999)


async def test_consistency_is_proved_over_segments(root: Path, signed: list[VerifierKey]) -> None:
    hashes = proof.consistency(root, "gw.0", 300, 701)
    old, new = ([merkle.leaf_hash(leaf) for leaf in _leaves(root)[:n]] for n in (300, 701))
    roots = (defined_root(old), defined_root(new))
    assert merkle.roots_from_consistency(300, 701, roots[0], hashes) == roots
    with pytest.raises(LedgerError, match="704 records, 9999"):
        proof.consistency(root, "gw.0", 3, 9999)


def _leaves(root: Path) -> list[bytes]:
    return list(leaves(root, "gw.0"))


async def test_a_proof_for_other_bytes_place_or_key_fails(root: Path, signed: list[VerifierKey]) -> None:
    good = proof.prove(root, "gw.0", 40)
    other = proof.prove(root, "gw.0", 41)
    for bad in (
        good._replace(extra=good.extra.replace(b"acme", b"evil")),
        good._replace(seq=41),
        good._replace(extra=other.extra),
        good._replace(hashes=good.hashes[:-1]),
        good._replace(hashes=(*good.hashes, good.hashes[0])),
        good._replace(seq=10_000),
    ):
        with pytest.raises(BadProof):
            proof.check(bad, signed)


async def test_no_flipped_bit_survives(root: Path, signed: list[VerifierKey]) -> None:
    text = str(proof.prove(root, "gw.0", 40)).encode()

    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, len(text) - 1), st.integers(0, 7))
    def flip(at: int, bit: int) -> None:
        flipped = text[:at] + bytes([text[at] ^ (1 << bit)]) + text[at + 1 :]
        try:
            parsed = proof.parse(flipped)
            proof.check(parsed, signed)
        except LedgerError:
            return
        assert parsed == proof.parse(text)  # another spelling of the same proof: unused bits of base64

    flip()


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"c2sp.org/tlog-proof@v1\nindex 1\n\nx",
        b"c2sp.org/tlog-proof@v1\nextra AA==\nindex 01\n\nx",
        b"c2sp.org/tlog-proof@v1\nextra AA==\nindex 1\nAAAA\n\nx",
        b"c2sp.org/tlog-proof@v1\nextra AA==\nindex 1\n????\n\nx",
        b"\xff\n\n",
    ],
)
def test_what_is_no_proof_is_refused(bad: bytes) -> None:
    with pytest.raises(BadProof):
        proof.parse(bad)


async def test_the_standalone_verifier_agrees(root: Path, tmp_path: Path, signed: list[VerifierKey]) -> None:
    good, keyring = tmp_path / "good.tlog-proof", root / "keyring"
    made = proof.prove(root, "gw.0", 40)
    good.write_text(str(made), "utf-8")
    status, text = standalone("--proof", good, "--keyring", keyring)
    assert (status, text.splitlines()[-1]) == (0, "OK: gw.0/40 is in the log gateway-ledger/gw.0 of 701 records")
    bad = tmp_path / "bad.tlog-proof"
    bad.write_text(str(made._replace(extra=made.extra.replace(b"acme", b"evil"))), "utf-8")
    assert standalone("--proof", bad, "--keyring", keyring)[0] == 1
    other = tmp_path / "keyring"
    other.write_text("")
    assert standalone("--proof", good, "--keyring", other)[0] == 1
    assert standalone(root.parent)[0] == 0
    assert standalone(tmp_path / "nothing")[0] == 2
