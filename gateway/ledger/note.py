"""Signed notes and their keys (c2sp.org/signed-note), the container of every signed head.

A note is text that ends in a newline, an empty line, and signature lines ``— name base64(key id || signature)``.
Lines of unknown keys are ignored; a line of a known key that does not verify spoils the whole note.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from gateway.ledger.errors import LedgerError

ED25519, COSIGNATURE, ML_DSA_44 = 0x01, 0x04, 0x06
"""Signature types: plain Ed25519, timestamped Ed25519 cosignature, timestamped ML-DSA-44 cosignature."""

KEY_BYTES = {ED25519: 32, COSIGNATURE: 32, ML_DSA_44: 1312}
_DASH = "\u2014 "
_MAX_BYTES = 1 << 20


class BadNote(LedgerError):
    """The bytes are no signed note, or no verifier key."""


class BadSignature(LedgerError):
    """A line of a known key does not verify, or no line of a known key is there."""


class VerifierKey(NamedTuple):
    """A public key with its name. Equal names and ids mean the same key."""

    name: str
    type: int
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that signature lines begin with."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.type]) + self.public).decode()}"


class Signature(NamedTuple):
    """One signature line. ``body`` is what follows the key id."""

    name: str
    id: bytes
    body: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.id + self.body).decode()}\n"


class Note(NamedTuple):
    """Text, ending in a newline, and its signatures. Nothing is believed yet."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(str(line) for line in self.signatures)

    def signed_by(self, *lines: Signature) -> Note:
        """The note with more signature lines."""
        return Note(self.text, (*self.signatures, *lines))


def valid_name(name: str) -> bool:
    """True for what may be the name of a key: not empty, no space, no plus, no control character."""
    return bool(name) and not any(c.isspace() or c == "+" or unicodedata.category(c) == "Cc" for c in name)


def parse_key(text: str) -> VerifierKey:
    """Read ``name+hex id+base64(type || public key)``.

    Raises: BadNote when it is none, when its id is not the key's, or when we do not know its type.
    """
    name, _, rest = text.strip().partition("+")
    hexed, _, encoded = rest.partition("+")
    try:
        raw = base64.b64decode(encoded, validate=True)
        key = VerifierKey(name, raw[0], raw[1:])
        if not valid_name(name) or bytes.fromhex(hexed) != key.id:
            raise BadNote(f"verifier key {text[:60]!r}: its id does not belong to its key")
    except (ValueError, IndexError) as error:
        raise BadNote(f"{text[:60]!r} is no verifier key: expected name+hex id+base64 key") from error
    if KEY_BYTES.get(key.type) != len(key.public):
        raise BadNote(f"verifier key {text[:60]!r}: type {key.type} with {len(key.public)} bytes is not known")
    return key


def parse(data: bytes) -> Note:
    """Read a note. Raises: BadNote."""
    if len(data) > _MAX_BYTES:
        raise BadNote(f"a note of {len(data)} bytes: at most {_MAX_BYTES}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadNote("a note is UTF-8 text, this is not") from error
    if any(c < " " and c != "\n" for c in text):
        raise BadNote("a note has no control characters but newlines")
    body, separator, tail = text.rpartition("\n\n")
    if not separator or not body or not tail.endswith("\n"):
        raise BadNote("a note is text, an empty line, and signature lines")
    return Note(body + "\n", tuple(parse_signature(line) for line in tail[:-1].split("\n")))


def parse_signature(line: str) -> Signature:
    """Read one signature line (without its newline). Raises: BadNote."""
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise BadNote(f"signature line {line[:60]!r} is not base64") from error
    if not line.startswith(_DASH) or not valid_name(name) or len(raw) < 5:
        raise BadNote(f"{line[:60]!r} is no signature line: expected an em dash, a name and base64")
    return Signature(name, raw[:4], raw[4:])


def lines_of(note: Note, keys: Sequence[VerifierKey]) -> list[tuple[VerifierKey, Signature]]:
    """The signature lines whose key is among ``keys``."""
    known = {(key.name, key.id): key for key in keys}
    return [(known[line.name, line.id], line) for line in note.signatures if (line.name, line.id) in known]
