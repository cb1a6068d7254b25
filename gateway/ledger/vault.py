"""Encryption of what may be erased: AES-256-GCM under data keys that a tenant's key wraps.

    body = AES-256-GCM(DEK, nonce 0, u16 len || salts || payload, associated data = prediction id)
    dek  = nonce[12] || AES-256-GCM(KEK, nonce, DEK, associated data = prediction id)

is a row by itself: a fresh DEK encrypts one body, so its nonce may be zero. Where the caller named a data subject, the
DEK is the subject's, kept apart (``subject_keys``), and every body has a nonce of its own:

    body = nonce[12] || AES-256-GCM(DEK of the subject, nonce, ...)           dek is empty

Where only salts are kept, which is with nearly every record, those of one commit and tenant are one block:

    body = AES-256-GCM(DEK, nonce 0, u16 len || salts || u16 len || salts ..., associated data = place)
    place = shard || u64 first || u16 distance of each record from the first one

One record's salts are erased by writing the block again, without them and under another key.

The KEK of a tenant is derived (HKDF-SHA-256) from the current generation's secret; destroying a generation makes
every body under it unreadable, wherever copies of the files went. The subject index key is apart, because it
outlives generations.
"""

from __future__ import annotations

import hmac
import os
import struct
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.ledger.errors import KeyMissing, LedgerCorrupt
from gateway.ledger.ledger import Payload
from gateway.ledger.payload_keys import KeySource
from gateway.ledger.sealed import Block, Sealed
from gateway.ledger.subject_keys import SubjectKey, SubjectKeys

_ZERO_NONCE = bytes(12)
_DRAWN = 4_096

REMEMBERED = 4_096
"""Subjects whose ciphers a writer holds at once."""


def shard_of(prediction_id: str) -> str:
    """The shard in a prediction id."""
    return prediction_id.rpartition("/")[0]


def block_place(shard: str, seqs: Sequence[int]) -> tuple[int, bytes]:
    """The first number of a block, and its place: what binds it to these records of this shard."""
    first = seqs[0]
    return first, shard.encode() + struct.pack(f">Q{len(seqs)}H", first, *[seq - first for seq in seqs])


class Vault:
    """Seals and opens payloads of one shard or, reading, of any. Safe for one thread at a time."""

    def __init__(self, keys: KeySource) -> None:
        self.keys = keys
        self._wraps: dict[tuple[int, str], AESGCM] = {}
        self._subjects: dict[str, SubjectKeys] = {}
        self._known: OrderedDict[bytes, AESGCM] = OrderedDict()
        self._opened: tuple[str, str, Sealed | None, Mapping[int, bytes]] = ("", "", None, {})  # records come in order
        self._generation = 0
        self._index = b""
        self._drawn, self._used = b"", 0

    def ready(self) -> None:
        """Make sure that keys exist and can be read, at start rather than at the first payload. Raises: KeyMissing."""
        self._generation = self.keys.current()
        self.keys.secret(self._generation)
        self._index = self.keys.index_secret()

    @property
    def generation(self) -> int:
        """The key generation that new payloads get; 0 before ``ready``."""
        return self._generation

    def seal(self, payload: Payload, prediction_id: str, expires_us: int = 0) -> Sealed:
        """Encrypt ``payload`` for its place, about 3 us; for a subject without a key yet it makes one, durably.

        ``expires_us`` holds if the payload names no time itself. Raises: KeyMissing, sqlite3.Error, OSError.
        """
        aad = prediction_id.encode()
        plain = len(payload.salts).to_bytes(2) + payload.salts + payload.body
        until = payload.expires_us or expires_us or None
        generation = self._current()
        if payload.subject:
            digest, nonce = self.subject(payload.tenant, payload.subject), self._fresh(12)
            cipher = self._subject_cipher(shard_of(prediction_id), digest, payload.tenant)
            return Sealed(generation, b"", digest, until, nonce + cipher.encrypt(nonce, plain, aad))
        dek = self._fresh(32)
        body = AESGCM(dek).encrypt(_ZERO_NONCE, plain, aad)
        return Sealed(generation, self._wrapped(dek, payload.tenant, aad), None, until, body)

    def open(self, sealed: Sealed, prediction_id: str, tenant: str) -> tuple[bytes, bytes]:
        """Salts and body. Raises: KeyMissing; LedgerCorrupt when the row is not what was sealed for this place."""
        if sealed.block:
            shard, _, seq = prediction_id.rpartition("/")
            if self._opened[:3] != (shard, tenant, sealed):
                block = Block(*sealed.block, sealed.kek, sealed.dek, sealed.expires_us, sealed.body)
                self._opened = (shard, tenant, sealed, self.open_block(block, shard, tenant))
            return self._opened[3][int(seq)], b""
        aad, body, nonce = prediction_id.encode(), sealed.body, _ZERO_NONCE
        try:
            if sealed.subject is None:
                cipher = AESGCM(self._dek(sealed.kek, sealed.dek, tenant, aad))
            else:
                cipher = self._subject_cipher(shard_of(prediction_id), sealed.subject)
                nonce, body = body[:12], body[12:]
            plain = cipher.decrypt(nonce, body, aad)
        except (InvalidTag, ValueError) as error:
            raise _changed(prediction_id) from error
        cut = 2 + int.from_bytes(plain[:2])
        return plain[2:cut], plain[cut:]

    def seal_block(self, salts: Mapping[int, bytes], shard: str, tenant: str, expires_us: int | None) -> Block:
        """Encrypt salts by sequence number, in order, under one fresh key. Raises: KeyMissing."""
        first, place = block_place(shard, list(salts))
        dek, generation = self._fresh(32), self._current()
        plain = b"".join([len(salt).to_bytes(2) + salt for salt in salts.values()])
        body = AESGCM(dek).encrypt(_ZERO_NONCE, plain, place)
        return Block(first, place[-2 * len(salts) :], generation, self._wrapped(dek, tenant, place), expires_us, body)

    def open_block(self, block: Block, shard: str, tenant: str) -> dict[int, bytes]:
        """The salts of a block by sequence number. Raises: KeyMissing, LedgerCorrupt."""
        seqs = block.numbers()
        _, place = block_place(shard, seqs)
        try:
            plain = AESGCM(self._dek(block.kek, block.dek, tenant, place)).decrypt(_ZERO_NONCE, block.body, place)
        except (InvalidTag, ValueError) as error:
            raise _changed(f"{shard}/{block.first}") from error
        out, at = {}, 0
        for seq in seqs:
            end = at + 2 + int.from_bytes(plain[at : at + 2])
            out[seq], at = plain[at + 2 : end], end
        return out

    def rewrap(self, sealed: Sealed, prediction_id: str, tenant: str) -> Sealed:
        """The same payload under the current generation; the body is not touched. Raises: KeyMissing, LedgerCorrupt."""
        if sealed.subject is not None:
            return sealed._replace(kek=self._generation)
        return sealed._replace(
            kek=self._generation, dek=self._moved(sealed.kek, sealed.dek, tenant, prediction_id.encode())
        )

    def rewrap_block(self, block: Block, shard: str, tenant: str) -> Block:
        """As ``rewrap``, for a block."""
        _, place = block_place(shard, block.numbers())
        return block._replace(kek=self._generation, dek=self._moved(block.kek, block.dek, tenant, place))

    def rewrap_subjects(self, shard: str) -> int:
        """Wrap the keys of a shard's subjects by the current generation; how many were not.

        Raises: KeyMissing, LedgerCorrupt, sqlite3.Error.
        """
        keys = self._subject_keys(shard)
        old = keys.under_other(self._generation)
        for start in range(0, len(old), 500):
            moved = [
                key._replace(kek=self._generation, dek=self._moved(key.kek, key.dek, key.tenant, key.digest))
                for key in old[start : start + 500]
            ]
            keys.put(moved)
        return len(old)

    def subject(self, tenant: str, subject: str) -> bytes:
        """Keyed digest under which a subject's payloads are found: HMAC(HMAC(index key, tenant), subject)."""
        if not self._index:
            self._index = self.keys.index_secret()
        tenant_key = hmac.digest(self._index, tenant.encode(), "sha256")
        return hmac.digest(tenant_key, subject.encode(), "sha256")

    def forget_subject(self, shard: str, digest: bytes) -> bool:
        """Destroy a subject's key for good; True if there was one. For the shard's writer. Raises: sqlite3.Error."""
        self._known.pop(digest, None)
        return self._subject_keys(shard).destroy(digest)

    def close(self) -> None:
        """Close what was opened; using the vault again opens it again."""
        for keys in self._subjects.values():
            keys.close()

    def _fresh(self, size: int) -> bytes:
        """``size`` random bytes that nothing else gets. The system is asked for many at a time: each time costs a call
        into it and gives the interpreter lock away."""
        at = self._used
        if at + size > len(self._drawn):
            self._drawn, at = os.urandom(_DRAWN), 0
        self._used = at + size
        return self._drawn[at : at + size]

    def _current(self) -> int:
        if not self._generation:
            self._generation = self.keys.current()
        return self._generation

    def _subject_keys(self, shard: str) -> SubjectKeys:
        found = self._subjects.get(shard)
        if found is None:
            found = self._subjects[shard] = self.keys.subjects(shard)
        return found

    def _subject_cipher(self, shard: str, digest: bytes, tenant: str | None = None) -> AESGCM:
        """A subject's cipher; for a writer, who names the ``tenant``, a missing key is made and all are remembered.

        Raises: KeyMissing, InvalidTag; sqlite3.Error and OSError when a key cannot be kept.
        """
        cipher = self._known.get(digest)
        if cipher is not None:
            self._known.move_to_end(digest)
            return cipher
        keys = self._subject_keys(shard)
        found = keys.get(digest)
        if found is not None:
            dek = self._dek(found.kek, found.dek, found.tenant, digest)
        elif tenant is not None:
            dek = os.urandom(32)
            keys.put([SubjectKey(digest, tenant, self._current(), self._wrapped(dek, tenant, digest))])
        else:
            raise KeyMissing(f"the key of this subject in shard {shard!r} was destroyed: its payloads were erased")
        cipher = AESGCM(dek)
        if tenant is not None:  # a reader lives beside a writer who may destroy the key: it remembers none
            self._known[digest] = cipher
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return cipher

    def _moved(self, kek: int, dek: bytes, tenant: str, aad: bytes) -> bytes:
        try:
            return self._wrapped(self._dek(kek, dek, tenant, aad), tenant, aad)
        except (InvalidTag, ValueError) as error:
            raise LedgerCorrupt("a payload's key does not open: it or the key above it was changed") from error

    def _wrapped(self, dek: bytes, tenant: str, aad: bytes) -> bytes:
        nonce = self._fresh(12)
        return nonce + self._wrap(self._current(), tenant).encrypt(nonce, dek, aad)

    def _dek(self, kek: int, dek: bytes, tenant: str, aad: bytes) -> bytes:
        """Raises: InvalidTag, ValueError, KeyMissing."""
        return self._wrap(kek, tenant).decrypt(dek[:12], dek[12:], aad)

    def _wrap(self, generation: int, tenant: str) -> AESGCM:
        cipher = self._wraps.get((generation, tenant))
        if cipher is None:
            hkdf = HKDF(SHA256(), length=32, salt=None, info=b"gateway/kek/v1\x00" + tenant.encode())
            cipher = self._wraps[generation, tenant] = AESGCM(hkdf.derive(self.keys.secret(generation)))
        return cipher


def _changed(place: str) -> LedgerCorrupt:
    return LedgerCorrupt(f"the payload of {place} does not open: it or its key was changed")
