"""Bearer tokens: every check on its own, one cause each, and no way around any of them."""

from __future__ import annotations

import base64
import json
from typing import Protocol

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Unauthenticated
from gateway.identity.claims import ClaimRules, principal_of
from gateway.identity.jwks import KeySet
from gateway.identity.jwt import Issuer, JwtTokens
from gateway.types import Principal

NOW = 1_795_000_000


class Signer(Protocol):
    kid: str
    key: object

    def sign(self, claims: dict[str, object], **header: object) -> str: ...


class World(Protocol):
    """See conftest."""

    signer: Signer
    tokens: JwtTokens

    def token(self, **changes: object) -> str: ...


async def cause(world: World, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await world.tokens.prove(token)
    assert str(caught.value) == str(Unauthenticated(""))
    return caught.value.cause


def b64(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


async def test_a_good_token_names_its_caller(world: World) -> None:
    assert await world.tokens.prove(world.token(dept="fraud", secret="no")) == Principal(
        id="u1",
        kind="user",
        tenant="risk",
        groups=("callers",),
        auth="jwt",
        credential="kid-ES256",
        issuer="https://idp.example",
        authenticated_s=NOW - 10,
        claims={"dept": "fraud"},
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"exp": NOW - 31}, "jwt_expired"),
        ({"exp": None}, "jwt_claim_missing: exp"),
        ({"iat": None}, "jwt_claim_missing: iat"),
        ({"iat": NOW + 31}, "jwt_issued_in_future"),
        ({"nbf": NOW + 31}, "jwt_not_yet_valid"),
        ({"iat": NOW - 86_400 - 31}, "jwt_too_old"),
        ({"aud": "another"}, "jwt_audience"),
        ({"aud": ["another", "third"]}, "jwt_audience"),
        ({"aud": None}, "jwt_audience_missing"),
        ({"aud": ["gateway", 1]}, "jwt_audience_missing"),
        ({"iss": "https://evil.example"}, "jwt_issuer"),
        ({"iss": None}, "jwt_issuer"),
        ({"sub": None}, "jwt_subject"),
        ({"sub": ""}, "jwt_subject"),
        ({"sub": "a b"}, "jwt_subject"),
        ({"sub": "anonymous"}, "jwt_subject"),
        ({"tenant": None}, "jwt_tenant"),
        ({"tenant": ["risk"]}, "jwt_tenant"),
        ({"tenant": "anonymous"}, "jwt_tenant"),
        ({"groups": {"a": 1}}, "jwt_groups"),
        ({"groups": ["a", 1]}, "jwt_groups"),
        ({"groups": ["a", "\n"]}, "jwt_groups"),
        ({"groups": [str(n) for n in range(257)]}, "jwt_groups"),
    ],
)
async def test_each_check_refuses_with_its_own_cause(world: World, changes: dict[str, object], expected: str) -> None:
    assert expected == await cause(world, world.token(**changes))


@pytest.mark.parametrize("value", ["soon", True, [], -1, 1e300, 2**41])
@pytest.mark.parametrize("name", ["exp", "iat", "nbf", "auth_time"])
async def test_times_that_are_none_are_refused(world: World, name: str, value: object) -> None:
    # Signed by hand: the library refuses to write such a token.
    claims = {"iss": "https://idp.example", "aud": "gateway", "sub": "u", "tenant": "t", "iat": NOW, "exp": NOW + 9}
    token = jwt.api_jws.PyJWS().encode(
        json.dumps({**claims, name: value}).encode(), world.signer.key, "ES256", headers={"kid": world.signer.kid}
    )
    assert await cause(world, token) == f"jwt_claim_malformed: {name}"


@pytest.mark.parametrize("leeway", [-30, 29])
async def test_clocks_may_differ_a_little(world: World, leeway: int) -> None:
    await world.tokens.prove(world.token(iat=NOW + leeway, nbf=NOW + leeway, exp=NOW - leeway + 1))


@pytest.mark.parametrize("alg", ["none", "None", "NONE"])
async def test_alg_none_is_refused_with_and_without_a_signature(world: World, alg: str) -> None:
    _, payload, signature = world.token().split(".")
    forged = b64({"alg": alg, "typ": "JWT", "kid": world.signer.kid})
    for token in (f"{forged}.{payload}.", f"{forged}.{payload}.{signature}"):
        assert await cause(world, token) == "jwt_algorithm_none"


async def test_a_public_key_is_no_hmac_secret(world: World) -> None:
    pem = world.signer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _, payload, _ = world.token().split(".")
    signed = f"{b64({'alg': 'HS256', 'typ': 'JWT', 'kid': world.signer.kid})}.{payload}"
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    assert await cause(world, f"{signed}.{b64(algorithm.sign(signed.encode(), pem))}") == "jwt_algorithm"


async def test_an_algorithm_that_is_not_configured_is_refused(world: World, signers: dict[str, Signer]) -> None:
    assert await cause(world, signers["ES384"].sign(world.claims())) == "jwt_algorithm"


async def test_a_key_serves_its_own_algorithm_alone(world: World, signers: dict[str, Signer]) -> None:
    token = signers["EdDSA"].sign(world.claims(), kid=world.signer.kid)
    assert await cause(world, token) == "jwt_key_unfit"


async def test_a_signature_by_another_key_of_the_same_name_is_refused(world: World, new_signer: type) -> None:
    assert await cause(world, new_signer("ES256", world.signer.kid).sign(world.claims())) == "jwt_signature"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"crit": ["exp"]}, "jwt_critical_header"),
        ({"b64": True}, "jwt_critical_header"),
        ({"typ": "logout+jwt"}, "jwt_type"),
        ({"typ": "dpop+jwt"}, "jwt_type"),
        ({"kid": "another"}, "jwt_key_unknown"),
        ({"kid": "../../etc/passwd"}, "jwt_key_unknown"),
    ],
)
async def test_headers_that_change_the_rules_are_refused(
    world: World, header: dict[str, object], expected: str
) -> None:
    _, payload, signature = world.token().split(".")
    forged = b64({"alg": "ES256", "kid": world.signer.kid, **header})
    assert await cause(world, f"{forged}.{payload}.{signature}") == expected


async def test_a_key_in_the_header_is_not_used(world: World, new_signer: type) -> None:
    evil = new_signer("ES256", "evil")
    for header in ({"jwk": evil.jwk}, {"jku": "http://127.0.0.1/k"}, {"x5u": "http://127.0.0.1/k"}):
        token = evil.sign(world.claims(), kid=world.signer.kid, **header)
        assert await cause(world, token) == "jwt_signature"


async def test_any_changed_byte_of_the_payload_breaks_the_signature(world: World) -> None:
    header, payload, signature = world.token().split(".")
    changed = json.loads(base64.urlsafe_b64decode(payload + "=="))
    changed["tenant"] = "another"
    assert await cause(world, f"{header}.{b64(changed)}.{signature}") == "jwt_signature"


@given(st.text(max_size=200) | st.lists(st.text(max_size=30), min_size=3, max_size=3).map(".".join))
async def test_garbage_is_malformed_and_nothing_worse(token: str) -> None:
    tokens = JwtTokens([], lambda: NOW)
    with pytest.raises(Unauthenticated) as caught:
        await tokens.prove(token)
    assert caught.value.cause == "jwt_malformed"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda v: st.lists(v) | st.dictionaries(st.text(max_size=5), v),
    )
)
async def test_any_json_in_header_and_payload_is_refused(value: object) -> None:
    tokens = JwtTokens([], lambda: NOW)
    for token in (f"{b64(value)}.{b64({})}.AA", f"{b64({'alg': 'ES256'})}.{b64(value)}.AA"):
        with pytest.raises(Unauthenticated):
            await tokens.prove(token)


async def test_a_token_longer_than_any_honest_one_is_not_parsed(world: World) -> None:
    assert await cause(world, world.token(pad="x" * 20_000)) == "jwt_malformed"


async def test_a_remembered_token_expires_all_the_same(world: World) -> None:
    token = world.token(exp=NOW + 100)
    await world.tokens.prove(token)
    world.clock.now = NOW + 129
    await world.tokens.prove(token)
    world.clock.now = NOW + 130
    assert await cause(world, token) == "jwt_expired"


async def test_a_remembered_token_is_forgotten_when_its_key_is_withdrawn(world: World, new_signer: type) -> None:
    token = world.token()
    await world.tokens.prove(token)
    other = new_signer("ES256", "next")
    world.source.jwks = [other.jwk]
    world.clock.now += 31
    await world.tokens.prove(other.sign(world.claims()))  # its unknown kid makes the keys be fetched
    assert await cause(world, token) == "jwt_key_unknown"


async def test_only_so_many_tokens_are_remembered(world: World) -> None:
    tokens = JwtTokens(
        [Issuer(ClaimRules(issuer="https://idp.example", audiences=frozenset({"gateway"})), world.keys)],
        world.clock,
        remembered=3,
    )
    for n in range(10):
        await tokens.prove(world.token(sub=f"u{n}"))
    assert len(tokens._verified) == 3


async def test_issuers_do_not_vouch_for_each_other(world: World, new_signer: type) -> None:
    other = new_signer("ES256", "kid-ES256")
    source = type(world.source)(other.jwk)
    rules = ClaimRules(issuer="https://other.example", audiences=frozenset({"gateway"}), tenant="other")
    ours = ClaimRules(issuer="https://idp.example", audiences=frozenset({"gateway"}))
    keys = KeySet(source, world.clock)
    tokens = JwtTokens([Issuer(ours, world.keys), Issuer(rules, keys)], world.clock)
    assert (await tokens.prove(other.sign(world.claims(iss="https://other.example")))).tenant == "other"
    assert (await tokens.prove(world.token())).tenant == "risk"
    with pytest.raises(Unauthenticated) as caught:
        await tokens.prove(other.sign(world.claims()))
    assert caught.value.cause == "jwt_signature"


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
async def test_each_kind_of_key_works(world: World, signers: dict[str, Signer], alg: str) -> None:
    world.source.jwks = [signer.jwk for signer in signers.values()]
    assert (await world.tokens.prove(signers[alg].sign(world.claims()))).credential == f"kid-{alg}"


def test_claims_map_by_configuration() -> None:
    rules = ClaimRules(
        issuer="i",
        audiences=frozenset({"a"}),
        subject_claim="https://acme.example/user",
        tenant="only",
        groups_claim="realm_access.roles",
        service_claim="gty",
        service_value="client-credentials",
    )
    claims = {
        "https://acme.example/user": "auth0|123",
        "realm_access": {"roles": ["b", "a", "b"]},
        "gty": "client-credentials",
        "auth_time": NOW - 500,
    }
    found = principal_of(claims, rules, "k", NOW)
    assert (found.id, found.tenant, found.groups, found.kind) == ("auth0|123", "only", ("b", "a"), "service")
    assert found.authenticated_s == NOW - 500
    scopes = principal_of({**claims, "realm_access": {"roles": "read write"}, "gty": "password"}, rules, "k", NOW)
    assert (scopes.groups, scopes.kind) == (("read", "write"), "user")


def test_a_spiffe_subject_is_shown_as_one() -> None:
    rules = ClaimRules(issuer="i", audiences=frozenset({"a"}), tenant="t")
    assert principal_of({"sub": "spiffe://acme/ns/x"}, rules, "k", NOW).spiffe_id == "spiffe://acme/ns/x"
