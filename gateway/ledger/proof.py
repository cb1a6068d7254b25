"""A receipt that anybody can check alone (c2sp.org/tlog-proof, file ``*.tlog-proof``).

c2sp.org/tlog-proof@v1
extra <base64 of the leaf>
index <sequence number>
<base64 hashes, from the leaf's sibling to the root's child>

<signed checkpoint, verbatim>
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.ledger import heads, merkle, note
from gateway.ledger.checkpoint import Checkpoint, decimal
from gateway.ledger.errors import LedgerCorrupt, LedgerError
from gateway.ledger.hashes import ShardHashes
from gateway.ledger.note import BadNote, Note, VerifierKey
from gateway.ledger.reader import ShardReader
from gateway.ledger.reading import decoder_of
from gateway.ledger.scan import Line
from gateway.ledger.signature import verify

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63

_read = decoder_of(Line)


class BadProof(LedgerError):
    """The bytes are no proof, or they prove something else."""


class NotSigned(LedgerError):
    """No signed head covers the record yet."""


class Proof(NamedTuple):
    """Leaf ``extra`` stands at place ``seq`` of the tree whose head is ``signed``."""

    seq: int
    extra: bytes
    hashes: tuple[bytes, ...]
    signed: Note

    def __str__(self) -> str:
        lines = [HEADER, f"extra {base64.b64encode(self.extra).decode()}", f"index {self.seq}"]
        lines += [base64.b64encode(item).decode() for item in self.hashes]
        return "\n".join(lines) + f"\n\n{self.signed}"


def prove(root: Path, shard: str, seq: int) -> Proof:
    """The proof of one record under the shard's newest signed head.

    Raises: NoSuchRecord, NotSigned, LedgerCorrupt.
    """
    reader = ShardReader(root, shard)
    try:
        leaf = reader.leaf(seq)
        newest = heads.newest(root / shard)
        if newest is None or newest.head.size <= seq:
            size = 0 if newest is None else newest.head.size
            raise NotSigned(f"{shard}/{seq}: the signed head covers {size} records: try again when the gateway runs")
        hashes = merkle.inclusion_proof(seq, newest.head.size, ShardHashes(reader))
        proof = Proof(seq, leaf, tuple(hashes), newest.signed)
        _lead(proof, newest.head)
        return proof
    finally:
        reader.close()


def consistency(root: Path, shard: str, old: int, new: int) -> list[bytes]:
    """Proof that the shard's tree of ``new`` leaves extends that of ``old``. Raises: LedgerError."""
    reader = ShardReader(root, shard)
    try:
        if new > (size := reader.size()):
            raise LedgerError(f"shard {shard!r} has {size} records, {new} were asked for")
        return merkle.consistency_proof(old, new, ShardHashes(reader))
    except ValueError as error:
        raise LedgerError(str(error)) from error
    finally:
        reader.close()


def check(proof: Proof, keys: Sequence[VerifierKey]) -> dict[VerifierKey, int]:
    """Hold a proof against trusted keys; returns who signed, with the times they stated.

    Raises: BadProof, BadSignature, BadNote.
    """
    signed = verify(proof.signed, keys)
    head = Checkpoint.parse(proof.signed.text)
    _lead(proof, head)
    try:
        place = _read(proof.extra)
    except LedgerCorrupt as error:
        raise BadProof(f"the proven bytes are no record ({error.__cause__})") from error
    if (place.shard, place.seq) != (head.origin.rpartition("/")[2], proof.seq):
        raise BadProof(f"the record says it is {place.shard}/{place.seq}, the proof is of {head.origin}, {proof.seq}")
    return signed


def _lead(proof: Proof, head: Checkpoint) -> None:
    try:
        root = merkle.root_from_inclusion(proof.seq, head.size, merkle.leaf_hash(proof.extra), proof.hashes)
    except ValueError as error:
        raise BadProof(str(error)) from error
    if root != head.root:
        raise BadProof(f"record {proof.seq} does not lead to the root of {head.origin} at size {head.size}")


def parse(data: bytes) -> Proof:
    """Read a proof. Raises: BadProof, BadNote."""
    top, separator, signed = data.partition(b"\n\n")
    try:
        lines = top.decode("ascii").split("\n") if separator else []
    except UnicodeDecodeError:
        lines = []
    if len(lines) < 3 or lines[0] != HEADER or not lines[1].startswith("extra ") or not lines[2].startswith("index "):
        raise BadProof(f"this is no proof: expected '{HEADER}', 'extra', 'index', hashes, an empty line, a checkpoint")
    if len(lines) - 3 > MAX_HASHES:
        raise BadProof(f"{len(lines) - 3} hashes: expected at most {MAX_HASHES}")
    try:
        encoded = [lines[1].removeprefix("extra "), *lines[3:]]
        extra, *hashes = (base64.b64decode(text, validate=True) for text in encoded)
        seq = decimal(lines[2].removeprefix("index "))
    except (ValueError, BadNote) as error:
        raise BadProof(f"expected a decimal index, and base64 of the record and of each hash: {error}") from error
    if any(len(item) != 32 for item in hashes):
        raise BadProof("a hash of the proof has not 32 bytes")
    return Proof(seq, extra, tuple(hashes), note.parse(signed))
