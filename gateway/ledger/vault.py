"""Encryption of what may be erased: AES-256-GCM with a fresh key, wrapped by a tenant's key.

    body = AES-256-GCM(DEK, nonce 0, u16 len || salts || payload, associated data = prediction id)
    dek  = nonce[12] || AES-256-GCM(KEK, nonce, DEK, associated data = prediction id)

A DEK encrypts one body, so its nonce may be zero. Where only salts are kept, which is with nearly every record, up to
``SHARED`` rows share a DEK and count their nonces, at a quarter of the cost; each row still goes alone:

    body = u32 count || AES-256-GCM(DEK, count, u16 len || salts, associated data = prediction id)
    dek  = nonce[12] || AES-256-GCM(KEK, nonce, DEK, associated data = "shared") || 0x01

The KEK of a tenant is derived (HKDF-SHA-256) from the
current generation's secret; destroying a generation makes every body under it unreadable, wherever
copies of the files went. The subject index key is apart, because it outlives generations.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.ledger import files
from gateway.ledger.errors import KeyMissing, LedgerCorrupt
from gateway.ledger.ledger import Payload
from gateway.ledger.segment import Sealed

_ZERO_NONCE = bytes(12)
_OWN_BYTES = 60
_SHARED_AAD = b"shared"

SHARED = 4_096
"""Rows that share a key at most."""


class KeySource(Protocol):
    """Where key-encryption secrets come from: files here, a KMS elsewhere."""

    def current(self) -> int:
        """The generation that new payloads use."""
        ...

    def secret(self, generation: int) -> bytes:
        """32 secret bytes. Raises: KeyMissing when the generation was destroyed or is unknown."""
        ...

    def index_secret(self) -> bytes:
        """32 secret bytes for the subject index; the same for ever."""
        ...


class FileKeys:
    """Secrets as files of mode 0600 in one directory: ``kek-000001.key``, ..., ``index.key``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def generations(self) -> list[int]:
        """Generations whose secret still exists, oldest first."""
        return sorted(int(path.stem[4:]) for path in self.directory.glob("kek-*.key"))

    def current(self) -> int:
        found = self.generations()
        if not found:
            self.rotate(1)
            return 1
        return found[-1]

    def secret(self, generation: int) -> bytes:
        return self._read(self._path(generation))

    def index_secret(self) -> bytes:
        path = self.directory / "index.key"
        if not path.exists():
            self._write(path)
        return self._read(path)

    def rotate(self, generation: int) -> None:
        """Make the secret of ``generation``, unless somebody else just did."""
        self._write(self._path(generation))

    def destroy(self, generation: int) -> None:
        """Forget a secret for good: overwrite, unlink, sync."""
        files.destroy(self._path(generation))

    def _path(self, generation: int) -> Path:
        return self.directory / f"kek-{generation:06d}.key"

    def _read(self, path: Path) -> bytes:
        try:
            secret = bytes.fromhex(path.read_text("ascii").strip())
        except FileNotFoundError:
            raise KeyMissing(f"{path} is missing: the payloads under this key cannot be read") from None
        except (ValueError, OSError) as error:
            raise KeyMissing(f"{path} cannot be read as a key ({error}): restore it") from error
        if len(secret) != 32:
            raise KeyMissing(f"{path} holds {len(secret)} bytes, a key has 32: restore it")
        return secret

    def _write(self, path: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.create(path, os.urandom(32).hex().encode() + b"\n")


class _Shared:
    """A key that several rows share, and how many do."""

    __slots__ = ("_cipher", "count", "generation", "wrapped")

    def __init__(self, generation: int, wrapped: bytes, cipher: AESGCM) -> None:
        self.generation = generation
        self.wrapped = wrapped
        self.count = 0
        self._cipher = cipher

    def encrypt(self, plain: bytes, aad: bytes) -> bytes:
        self.count += 1
        return self.count.to_bytes(4) + self._cipher.encrypt(_counted(self.count), plain, aad)


def _counted(count: int) -> bytes:
    return count.to_bytes(12)


class Vault:
    """Seals and opens payloads. Safe for one thread at a time."""

    def __init__(self, keys: KeySource) -> None:
        self.keys = keys
        self._wraps: dict[tuple[int, str], AESGCM] = {}
        self._shared: dict[str, _Shared] = {}
        self._generation = 0
        self._index = b""

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
        """Encrypt ``payload`` for its place; about 1 us without a body, 3 with one.

        ``expires_us`` holds if the payload names no time itself. Raises: KeyMissing.
        """
        if not self._generation:
            self._generation = self.keys.current()
        aad = prediction_id.encode()
        plain = len(payload.salts).to_bytes(2) + payload.salts + payload.body
        subject = self.subject(payload.tenant, payload.subject) if payload.subject else None
        until = payload.expires_us or expires_us or None
        if not payload.body:
            shared = self._shared_key(payload.tenant)
            return Sealed(self._generation, shared.wrapped, subject, until, shared.encrypt(plain, aad))
        dek = os.urandom(32)
        body = AESGCM(dek).encrypt(_ZERO_NONCE, plain, aad)
        return Sealed(self._generation, self._wrapped(dek, payload.tenant, aad), subject, until, body)

    def open(self, sealed: Sealed, prediction_id: str, tenant: str) -> tuple[bytes, bytes]:
        """Salts and body. Raises: KeyMissing; LedgerCorrupt when the row is not what was sealed for this place."""
        aad, body, nonce = prediction_id.encode(), sealed.body, _ZERO_NONCE
        if len(sealed.dek) > _OWN_BYTES:
            body, nonce = sealed.body[4:], _counted(int.from_bytes(sealed.body[:4]))
        try:
            plain = AESGCM(self._dek(sealed, tenant, aad)).decrypt(nonce, body, aad)
        except (InvalidTag, ValueError) as error:
            raise LedgerCorrupt(f"the payload of {prediction_id} does not open: it or its key was changed") from error
        cut = 2 + int.from_bytes(plain[:2])
        return plain[2:cut], plain[cut:]

    def rewrap(self, sealed: Sealed, prediction_id: str, tenant: str, generation: int) -> Sealed:
        """The same payload under another generation; the body is not touched. Raises: KeyMissing, LedgerCorrupt."""
        aad = prediction_id.encode()
        try:
            dek = self._dek(sealed, tenant, aad)
        except (InvalidTag, ValueError) as error:
            raise LedgerCorrupt(f"the payload of {prediction_id} does not open: it or its key was changed") from error
        shared = len(sealed.dek) > _OWN_BYTES
        wrapped = self._wrapped(dek, tenant, _SHARED_AAD if shared else aad, generation)
        return sealed._replace(kek=generation, dek=wrapped + b"\x01" if shared else wrapped)

    def subject(self, tenant: str, subject: str) -> bytes:
        """Keyed digest under which a subject's payloads are found: HMAC(HMAC(index key, tenant), subject)."""
        if not self._index:
            self._index = self.keys.index_secret()
        tenant_key = hmac.digest(self._index, tenant.encode(), "sha256")
        return hmac.digest(tenant_key, subject.encode(), "sha256")

    def _shared_key(self, tenant: str) -> _Shared:
        """The key that rows without a body share now; a new one when it is used up or the generation changed."""
        shared = self._shared.get(tenant)
        if shared is None or shared.count == SHARED or shared.generation != self._generation:
            dek = os.urandom(32)
            wrapped = self._wrapped(dek, tenant, _SHARED_AAD) + b"\x01"
            shared = self._shared[tenant] = _Shared(self._generation, wrapped, AESGCM(dek))
        return shared

    def _wrapped(self, dek: bytes, tenant: str, aad: bytes, generation: int = 0) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._wrap(generation or self._generation, tenant).encrypt(nonce, dek, aad)

    def _dek(self, sealed: Sealed, tenant: str, aad: bytes) -> bytes:
        """Raises: InvalidTag, ValueError, KeyMissing."""
        if len(sealed.dek) > _OWN_BYTES:
            aad = _SHARED_AAD
        return self._wrap(sealed.kek, tenant).decrypt(sealed.dek[:12], sealed.dek[12:_OWN_BYTES], aad)

    def _wrap(self, generation: int, tenant: str) -> AESGCM:
        cipher = self._wraps.get((generation, tenant))
        if cipher is None:
            hkdf = HKDF(SHA256(), length=32, salt=None, info=b"gateway/kek/v1\x00" + tenant.encode())
            cipher = self._wraps[generation, tenant] = AESGCM(hkdf.derive(self.keys.secret(generation)))
        return cipher
