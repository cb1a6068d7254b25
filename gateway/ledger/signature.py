"""What the signature lines of a checkpoint sign, and how they are made and checked (c2sp.org/tlog-cosignature).

Ed25519 (0x01) signs the note's text. The cosignatures (0x04, 0x06) begin with a time and sign it too:
"at that time this was the largest consistent tree that I had seen".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.note import COSIGNATURE, ED25519, ML_DSA_44, BadSignature, Note, Signature, VerifierKey, lines_of

PrivateKey: TypeAlias = Ed25519PrivateKey | MLDSA44PrivateKey


def verifier_key(name: str, private: PrivateKey, *, witness: bool = False) -> VerifierKey:
    """The public half under ``name``. An Ed25519 key is a log's (0x01), or a witness's (0x04)."""
    if isinstance(private, MLDSA44PrivateKey):
        return VerifierKey(name, ML_DSA_44, private.public_key().public_bytes_raw())
    return VerifierKey(name, COSIGNATURE if witness else ED25519, private.public_key().public_bytes_raw())


def sign(text: str, key: VerifierKey, private: PrivateKey, time_s: int) -> Signature:
    """A signature line for the checkpoint ``text``. ``time_s`` (since 1970) goes into cosignatures."""
    made = private.sign(_message(text, key, time_s))
    stamp = b"" if key.type == ED25519 else struct.pack(">Q", time_s)
    return Signature(key.name, key.id, stamp + made)


def verify(note: Note, keys: Sequence[VerifierKey]) -> dict[VerifierKey, int]:
    """The keys among ``keys`` that signed ``note``, with the time they stated (0 for a plain signature).

    Raises: BadSignature when a line of a known key does not verify, or when none of ``keys`` signed.
    """
    found: dict[VerifierKey, int] = {}
    for key, line in lines_of(note, keys):
        found[key] = max(_check(note.text, key, line), found.get(key, 0))
    if not found:
        names = ", ".join(sorted({key.name for key in keys}))
        why = f"{names} did not sign this note" if names else "no key is known that may sign this note"
        raise BadSignature(f"no signature by a known key: {why}")
    return found


def _check(text: str, key: VerifierKey, line: Signature) -> int:
    plain = key.type == ED25519
    time_s = 0 if plain or len(line.body) < 8 else int.from_bytes(line.body[:8])
    body = line.body if plain else line.body[8:]
    try:
        message = _message(text, key, time_s)
        if key.type == ML_DSA_44:
            MLDSA44PublicKey.from_public_bytes(key.public).verify(body, message)
        else:
            Ed25519PublicKey.from_public_bytes(key.public).verify(body, message)
    except (InvalidSignature, ValueError) as error:
        raise BadSignature(f"the signature of {key.name} ({key.id.hex()}) does not verify") from error
    return time_s


def _message(text: str, key: VerifierKey, time_s: int) -> bytes:
    if key.type == ED25519:
        return text.encode()
    if key.type == COSIGNATURE:
        return f"cosignature/v1\ntime {time_s}\n{text}".encode()
    head, name = Checkpoint.parse(text), key.name.encode()
    origin = head.origin.encode()
    return b"".join(
        (
            b"subtree/v1\n\0",
            bytes([len(name)]) + name,
            struct.pack(">Q", time_s),
            bytes([len(origin)]) + origin,
            struct.pack(">QQ", 0, head.size),
            head.root,
        )
    )
