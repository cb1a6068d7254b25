"""The catalog: what people have said of model files, by digest. The gateway believes it only of exactly those bytes.

A JSON file: ``{"models": [{"model", "digest", "stage", "owner", "classification", "signatures": [JWT, ...]}]}``. A
signature is over model and digest, by a key that the configuration names; stage, owner and classification are the word
of whoever may write the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import jwt
import msgspec

from gateway.malformed import MALFORMED
from gateway.pipeline.enforcement import Resolver
from gateway.policy.signing import SigningKey
from gateway.types import ModelFacts, ModelRef

SCOPE: Literal["model"] = "model"
Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class CatalogError(Exception):
    """The catalog, or the file of its signers, cannot be used. The text names the file and what does not fit."""


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a signature is over."""

    scope: Literal["model"]
    model: Name
    digest: Digest
    iat: int = 0


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of a model, by the digest of its files. ``stage`` ``approved`` or ``released`` is what the
    requirement ``approved_model`` asks for."""

    model: Name
    digest: Digest
    stage: Literal["", "candidate", "in_review", "approved", "released", "suspended", "retired", "recalled"] = ""
    owner: str = ""
    classification: str = ""
    signatures: tuple[str, ...] = ()


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    models: tuple[Entry, ...] = ()


class _Signers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: Annotated[tuple[SigningKey, ...], msgspec.Meta(min_length=1)]


class Known(msgspec.Struct, frozen=True):
    """What holds of one digest of a model."""

    stage: str
    owner: str
    classification: str
    signed: bool


def read_signers(path: Path) -> Mapping[str, SigningKey]:
    """Who may sign models, by key id: ``{"keys": [{"keyid", "algorithm", "public_pem"}]}``. Raises: CatalogError."""
    try:
        keys = msgspec.json.decode(path.read_bytes(), type=_Signers).keys
    except (OSError, *MALFORMED) as error:
        raise CatalogError(f"{path}: {error}") from error
    if len({key.keyid for key in keys} - {""}) < len(keys):
        raise CatalogError(f"{path}: each key needs a keyid of its own")
    return {key.keyid: key for key in keys}


def read_catalog(path: Path) -> tuple[Entry, ...]:
    """The entries in ``path``. Raises: CatalogError for a file that does not fit, or that says two things of one."""
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=File).models
    except (OSError, *MALFORMED) as error:
        raise CatalogError(f"{path}: {error}") from error
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        if (entry.model, entry.digest) in seen:
            raise CatalogError(f"{path}: {entry.model!r} with {entry.digest} stands twice")
        seen.add((entry.model, entry.digest))
    return entries


def sign(model: str, digest: str, *, private_pem: str, key: tuple[str, str], now_s: int) -> str:
    """A signature with ``key`` (its id and algorithm). Raises: ValueError."""
    try:
        statement = msgspec.convert({"scope": SCOPE, "model": model, "digest": digest, "iat": now_s}, Statement)
        return jwt.encode(msgspec.to_builtins(statement), private_pem, key[1], headers={"kid": key[0]})
    except (jwt.PyJWTError, TypeError) as error:
        raise ValueError(f"the key cannot sign with {key[1]}: {error}") from error


def defect(entry: Entry, token: str, keys: Mapping[str, SigningKey]) -> str:
    """Why ``token`` is no signature over ``entry`` by one of ``keys``; "" when it is.

    The key id only picks among our own keys; the configured key says the algorithm.
    """
    try:
        keyid = jwt.get_unverified_header(token).get("kid", "")
        if keyid not in keys:
            return f"keyid {keyid!r} is none of {', '.join(sorted(keys))}"
        key = keys[keyid]
        said = jwt.decode(token, key.public_pem, algorithms=[key.algorithm], options={"verify_iat": False})
        statement = msgspec.convert(said, Statement)
    except (jwt.PyJWTError, UnicodeError, *MALFORMED) as error:
        return f"it does not hold: {error}"
    if (statement.model, statement.digest) != (entry.model, entry.digest):
        return f"it is over {statement.model!r} with {statement.digest}"
    return ""


class Catalog:
    """What holds of models, looked up by name and digest: other bytes are another model, of which nothing is known."""

    def __init__(self, entries: tuple[Entry, ...] = (), keys: Mapping[str, SigningKey] | None = None) -> None:
        trusted = keys or {}
        self._known = {
            (entry.model, entry.digest): Known(
                entry.stage,
                entry.owner,
                entry.classification,
                any(not defect(entry, token, trusted) for token in entry.signatures),
            )
            for entry in entries
        }

    def told(self, facts: ModelFacts) -> ModelFacts:
        """``facts`` with what the catalog says of exactly this version."""
        known = self._known.get((facts.id.name, facts.id.digest))
        if known is None:
            return facts
        return msgspec.structs.replace(
            facts, stage=known.stage, owner=known.owner, classification=known.classification, signed=known.signed
        )


class CatalogModels:
    """Resolves models as ``models`` does, and adds what the catalog says. For one event loop.

    What it made of a model is remembered until the catalog or the model changes.
    """

    def __init__(self, models: Resolver, catalog: Catalog) -> None:
        self._models = models
        self._catalog = catalog
        self._made: dict[tuple[str, str], tuple[ModelFacts, ModelFacts]] = {}

    def replace(self, catalog: Catalog) -> None:
        """Go by another catalog from the next call on."""
        self._catalog, self._made = catalog, {}

    def resolve(self, ref: ModelRef) -> ModelFacts:
        """Raises: as ``models`` does."""
        facts = self._models.resolve(ref)
        place = (facts.id.name, facts.id.version)
        made = self._made.get(place)
        if made is None or made[0] is not facts:
            made = self._made[place] = (facts, self._catalog.told(facts))
        return made[1]
