"""Emergency grants: signed by enough people, for a day at most, for what they name and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.policy.breakglass import Claims, Signers, claimed, read_grants, read_signers, sign, verify
from gateway.policy.bundle import Bundle
from gateway.policy.findings import PolicyInvalid
from gateway.policy.modes import BREAK_GLASS, FIXED, Grant, ModedPoint
from gateway.policy.pdp import Query, enforce
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.schema import Gateway
from gateway.policy.signing import SigningKey

MakeQuery = Callable[..., Query]
NOW_S = 1_795_000_000
ANN, BOB, EVE = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))


def private(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


SIGNERS = Signers(keys=(SigningKey("ann", "ES256", public(ANN)), SigningKey("bob", "ES256", public(BOB))))
TWO = msgspec.structs.replace(SIGNERS, signatures=2)
STATED: dict[str, object] = {
    "jti": "bg-00000001",
    "scope": "break-glass",
    "sub": "intake-app",
    "tenant": "clinic",
    "action": "inference:infer",
    "model": "diabetes",
    "reasons": ["batch"],
    "why": "incident 7",
    "iat": NOW_S,
    "exp": NOW_S + 3600,
}


def claims(**changes: object) -> Claims:
    return msgspec.convert({**STATED, **changes}, Claims)


def signed(by: ec.EllipticCurvePrivateKey = ANN, keyid: str = "ann", **changes: object) -> str:
    return sign(claims(**changes), private_pem=private(by), keyid=keyid, algorithm="ES256")


def test_a_signature_makes_a_grant_and_two_people_make_one_where_two_are_needed() -> None:
    grant = verify(signed(), SIGNERS)
    assert (grant.id, grant.subject, grant.signers) == ("bg-00000001", "intake-app", ("ann",))
    assert (grant.from_us, grant.until_us) == (NOW_S * 1_000_000, (NOW_S + 3600) * 1_000_000)
    both = signed() + "\n" + signed(BOB, "bob")
    assert verify(both, TWO).signers == ("ann", "bob")
    assert claimed(both) == claims()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 different signatures"),
        ("garbage", "does not hold"),
        (signed(), "1 different signatures, 2 are needed"),
        (signed() + "\n" + signed(), "1 different signatures"),
        (signed() + "\n" + signed(EVE, "eve"), "'eve' is none of ann, bob"),
        (signed() + "\n" + signed(EVE, "bob"), "does not hold"),
        (signed() + "\n" + signed(BOB, "bob", model="*"), "different claims"),
        (signed() + "\n" + jwt.encode(STATED, "", "none", headers={"kid": "bob"}), "does not hold"),
        (signed() + "\n" + jwt.encode(STATED, public(BOB).encode()[:64], "HS256", headers={"kid": "bob"}), "hold"),
        (signed() + "\n" + jwt.encode({**STATED, "x": 1}, private(BOB), "ES256", headers={"kid": "bob"}), "unknown"),
    ],
)
@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
def test_what_is_not_signed_by_enough_people_opens_nothing(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        verify(text, TWO)


def test_a_tampered_grant_opens_nothing() -> None:
    head, body, signature = signed().split(".")
    other = signed(model="*").split(".")[1]
    assert verify(f"{head}.{body}.{signature}", SIGNERS).model == "diabetes"
    with pytest.raises(ValueError, match="does not hold"):
        verify(f"{head}.{other}.{signature}", SIGNERS)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW_S + 24 * 3600 + 1},
        {"exp": NOW_S},
        {"why": ""},
        {"sub": ""},
        {"tenant": ""},
        {"model": ""},
        {"reasons": []},
        {"action": "everything"},
        {"scope": "authz"},
        *({"reasons": [code]} for code in sorted(FIXED)),
    ],
)
def test_claims_that_no_signature_helps(changes: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        claims(**changes)


def test_grants_on_file_stand_alone(tmp_path: Path) -> None:
    (tmp_path / "bg-00000001.jwt").write_text(signed())
    (tmp_path / "bg-00000002.jwt").write_text(signed())  # a copy under another name
    (tmp_path / "bg-00000003.jwt").write_text("garbage")
    grants, refused = read_grants(tmp_path, SIGNERS)
    assert [grant.id for grant in grants] == ["bg-00000001"]
    assert sorted(refused) == ["bg-00000002.jwt", "bg-00000003.jwt"]
    assert read_grants(tmp_path / "none", SIGNERS) == ((), {})


@pytest.mark.parametrize("change", [{"signatures": 0}, {"signatures": 3}, {"keys": []}, {"extra": 1}])
def test_a_file_of_signers_that_cannot_work_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    file = tmp_path / "signers.json"
    keys = [{"keyid": "ann", "algorithm": "ES256", "public_pem": public(ANN)}]
    file.write_text(json.dumps({"keys": keys}))
    assert read_signers(file).signatures == 1
    file.write_text(json.dumps({"keys": keys, **change}))
    with pytest.raises(PolicyInvalid, match=r"signers\.json"):
        read_signers(file)


@pytest.fixture
def point(shipped: Bundle) -> EmbeddedPoint:
    return EmbeddedPoint(shipped, gateway=Gateway())


def granted(**changes: object) -> Grant:
    return verify(signed(**changes), SIGNERS)


async def test_what_a_grant_serves_stays_a_denial_that_names_it(point: EmbeddedPoint, make_query: MakeQuery) -> None:
    moded = ModedPoint(point, (), [granted()])
    decision = await moded.decide(make_query(shapes=((33, 10),)))
    assert (decision.allow, decision.effect, decision.codes) == (False, "warned", ("batch",))
    used = decision.reasons[-1]
    assert (used.code, used.severity, used.msg) == (BREAK_GLASS, "warn", "incident 7")
    assert used.params == {"grant": "bg-00000001", "signers": ["ann"]}
    assert enforce(decision).servable == decision.servable
    assert (await moded.decide(make_query())).allow is True


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "other"},
        {"tenant": "research"},
        {"model": "digits"},
        {"action": "model-repository:load"},
        {"reasons": ["network"]},
        {"iat": NOW_S + 1},
        {"iat": NOW_S - 3600, "exp": NOW_S},
    ],
)
async def test_it_opens_what_it_names_and_nothing_else(
    point: EmbeddedPoint, make_query: MakeQuery, changes: dict[str, object]
) -> None:
    query = make_query(shapes=((33, 10),))
    assert (await ModedPoint(point, (), [granted(**changes)]).decide(query)).effect == "enforced"
    assert (await ModedPoint(point, (), [granted(**changes), granted(model="*")]).decide(query)).effect == "warned"


async def test_every_reason_needs_a_grant(point: EmbeddedPoint, make_query: MakeQuery) -> None:
    query = make_query(shapes=((33, 10),), peer="8.8.8.8")
    assert (await ModedPoint(point, (), [granted()]).decide(query)).effect == "enforced"
    assert (await ModedPoint(point, (), [granted(reasons=["batch", "network"])]).decide(query)).effect == "warned"
