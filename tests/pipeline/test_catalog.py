"""What people said of model files holds for exactly those bytes, and a signature for exactly its keys."""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.pipeline.catalog import (
    Catalog,
    CatalogError,
    CatalogModels,
    Entry,
    defect,
    read_catalog,
    read_signers,
    sign,
)
from gateway.policy.signing import SigningKey
from gateway.serving.version_files import VersionFiles
from gateway.types import ModelFacts, ModelRef, ServableId

ANN, EVE = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64

STATED = {"model": "m", "digest": A}


def private(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


KEYS = {"ann": SigningKey("ann", "ES256", public(ANN))}


def signature(model: str = "m", digest: str = A, by: ec.EllipticCurvePrivateKey = ANN, keyid: str = "ann") -> str:
    return sign(model, digest, private_pem=private(by), key=(keyid, "ES256"), now_s=1_795_000_000)


def entry(*signatures: str, model: str = "m", digest: str = A) -> Entry:
    return Entry(model=model, digest=digest, stage="approved", owner="risk", signatures=signatures)


def facts(digest: str = A, name: str = "m") -> ModelFacts:
    return ModelFacts(id=ServableId(name, "1", digest), batching=True, labels={"team": "x"})


def test_it_holds_for_exactly_these_bytes_of_this_model() -> None:
    catalog = Catalog((entry(signature()),), KEYS)
    told = catalog.told(facts())
    assert (told.signed, told.stage, told.owner, told.batching, told.labels) == (
        *(True, "approved", "risk", True),
        {"team": "x"},
    )
    for other in (facts(B), facts(name="n")):
        assert catalog.told(other) is other
    assert Catalog((entry(signature()),)).told(facts()).signed is False  # nobody's keys are trusted
    assert Catalog((entry(),), KEYS).told(facts()).signed is False


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("garbage", "does not hold"),
        (signature(digest=B), "it is over 'm' with sha256:bbb"),
        (signature(model="n"), "it is over 'n'"),
        (signature(by=EVE), "does not hold"),
        (signature(by=EVE, keyid="eve"), "keyid 'eve' is none of ann"),
        (
            jwt.encode({"scope": "model", "model": "m", "digest": A}, "", "none", headers={"kid": "ann"}),
            "does not hold",
        ),
        (
            jwt.encode({"scope": "authz", "model": "m", "digest": A}, private(ANN), "ES256", headers={"kid": "ann"}),
            "no",
        ),
    ],
)
def test_what_is_no_signature_over_it_is_named_and_signs_nothing(token: str, said: str) -> None:
    assert said in defect(entry(), token, KEYS)
    assert Catalog((entry(token),), KEYS).told(facts()).signed is False
    assert Catalog((entry(token, signature()),), KEYS).told(facts()).signed is True


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    one = {"model": "m", "digest": A}
    for wrong in ("{", {"models": [one, one]}, {"models": [{**one, "stage": "fine"}]}, {"models": [{"model": "m"}]}):
        file.write_text(wrong if isinstance(wrong, str) else json.dumps(wrong))
        with pytest.raises(CatalogError, match=r"f\.json"):
            read_catalog(file)
    key = {"keyid": "ann", "algorithm": "ES256", "public_pem": public(ANN)}
    for wrong in ({"keys": []}, {"keys": [key, key]}, {"keys": [{**key, "keyid": ""}]}):
        file.write_text(json.dumps(wrong))
        with pytest.raises(CatalogError, match=r"f\.json"):
            read_signers(file)
    file.write_text(json.dumps({"keys": [key]}))
    assert read_signers(file) == KEYS
    with pytest.raises(CatalogError, match="none"):
        read_catalog(tmp_path / "none")


class Models:
    """A resolver that can be told of other facts."""

    def __init__(self) -> None:
        self.facts = facts()

    def resolve(self, ref: ModelRef) -> ModelFacts:
        return self.facts


def test_another_catalog_or_other_bytes_hold_from_the_next_call_on() -> None:
    models = Models()
    known = CatalogModels(models, Catalog())
    ref = ModelRef("m")
    assert known.resolve(ref).signed is False
    known.replace(Catalog((entry(signature()),), KEYS))
    assert known.resolve(ref).signed is True
    assert known.resolve(ref) is known.resolve(ref)
    models.facts = facts(B)
    assert (known.resolve(ref).signed, known.resolve(ref).stage) == (False, "")


def test_the_example_is_about_the_example_models() -> None:
    examples = Path(__file__).parents[2] / "examples"
    known = {(each.model, each.digest) for each in read_catalog(examples / "catalog.json")}
    found = {
        (path.parents[1].name, VersionFiles(path.parents[1], path).read().digest)
        for path in (examples / "models").glob("*/1/model.onnx")
    }
    assert known == found
    assert msgspec.json.decode((examples / "catalog.json").read_bytes())
