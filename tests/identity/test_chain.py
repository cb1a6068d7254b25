"""Several credentials: the order, and that a bad one is never taken for none."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Unauthenticated
from gateway.identity.chain import Chain
from gateway.types import Credentials, Principal

KEY = "gwk_0123abcd_" + "5" * 64
TOKEN = "aaaa.bbbb.cccc"
CERTIFICATE = b"certificate"


class Knows:
    """Proves exactly one credential, by each of the three methods' names."""

    def __init__(self, good: str | bytes, auth: str) -> None:
        self.good = good
        self.auth = auth

    def prove(self, shown: str | bytes) -> Principal:
        if shown != self.good:
            raise Unauthenticated(f"{self.auth}_bad")
        return Principal(id=self.auth, kind="service", tenant="t", auth=self.auth)


class KnowsToken(Knows):
    """Tokens, of which it has proved all before, or none."""

    def __init__(self, good: str, auth: str, *, before: bool) -> None:
        super().__init__(good, auth)
        self.before = before

    def known(self, shown: str) -> Principal | None:
        return super().prove(shown) if self.before else None

    async def prove(self, shown: str) -> Principal:
        return super().prove(shown)


def chain(*, anonymous: bool = False, before: bool = False) -> Chain:
    return Chain(
        certificates=Knows(CERTIFICATE, "mtls"),
        tokens=KnowsToken(TOKEN, "jwt", before=before),
        keys=Knows(KEY, "api_key"),
        anonymous=anonymous,
    )


async def outcome(chain: Chain, credentials: Credentials) -> str:
    """How it ends, which is the same without waiting where that is possible."""
    try:
        waited = (await chain.authenticate(credentials)).auth
    except Unauthenticated as error:
        waited = error.cause
    assert outcome_now(chain, credentials) in (waited, None)
    return waited


def outcome_now(chain: Chain, credentials: Credentials) -> str | None:
    try:
        principal = chain.authenticate_now(credentials)
    except Unauthenticated as error:
        return error.cause
    return principal.auth if principal is not None else None


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        (Credentials(api_key=KEY), "api_key"),
        (Credentials(authorization=f"Bearer {KEY}"), "api_key"),
        (Credentials(authorization=f"bEARER   {KEY} "), "api_key"),
        (Credentials(authorization=f"Bearer {TOKEN}"), "jwt"),
        (Credentials(certificate=CERTIFICATE), "mtls"),
        (Credentials(authorization=f"Bearer {TOKEN}", api_key=KEY), "jwt"),
        (Credentials(authorization=f"Bearer {TOKEN}", certificate=CERTIFICATE, api_key=KEY), "mtls"),
        (Credentials(), "no_credential"),
        (Credentials(authorization="Bearer"), "authorization_not_bearer"),
        (Credentials(authorization="Bearer "), "authorization_not_bearer"),
        (Credentials(authorization=f"Basic {KEY}"), "authorization_not_bearer"),
        (Credentials(authorization=KEY), "authorization_not_bearer"),
        (Credentials(authorization=f"Bearer {KEY}x"), "api_key_bad"),
        (Credentials(api_key=TOKEN), "api_key_bad"),
    ],
)
async def test_what_is_shown_decides_in_one_order(credentials: Credentials, expected: str) -> None:
    assert expected == await outcome(chain(), credentials)


async def test_anonymous_is_for_callers_who_show_nothing() -> None:
    principal = await chain(anonymous=True).authenticate(Credentials())
    assert principal == Principal(id="anonymous", kind="anonymous", tenant="anonymous", auth="none")


async def test_any_bad_credential_refuses_whatever_else_is_shown() -> None:
    values = {
        "certificate": [(b"", None), (CERTIFICATE, True), (b"bad", False)],
        "authorization": [("", None), (f"Bearer {TOKEN}", True), ("Bearer bad", False), ("Bearer gwk_", False)],
        "api_key": [("", None), (KEY, True), ("bad", False)],
    }
    for combination in itertools.product(*values.values()):
        shown = dict(zip(values, (value for value, _ in combination), strict=True))
        verdicts = [verdict for _, verdict in combination]
        result = await outcome(chain(anonymous=True), Credentials(**shown))
        if False in verdicts:
            assert result.endswith(("_bad", "_not_bearer"))
        else:
            order = [a for a, v in zip(("mtls", "jwt", "api_key"), verdicts, strict=True) if v]
            assert result == (order or ["none"])[0]


@pytest.mark.parametrize(
    ("credentials", "cause"),
    [
        (Credentials(api_key=KEY), "api_key_not_accepted"),
        (Credentials(authorization=f"Bearer {KEY}"), "api_key_not_accepted"),
        (Credentials(authorization=f"Bearer {TOKEN}"), "bearer_token_not_accepted"),
        (Credentials(certificate=CERTIFICATE), "certificate_not_accepted"),
    ],
)
async def test_a_method_that_is_not_configured_is_no_anonymous_call(credentials: Credentials, cause: str) -> None:
    assert cause == await outcome(Chain(anonymous=True), credentials)


@pytest.mark.parametrize("before", [True, False])
async def test_only_a_token_that_was_not_proved_before_has_to_be_waited_for(before: bool) -> None:
    known = chain(before=before)
    for shown in ({"api_key": KEY}, {"certificate": CERTIFICATE}, {"authorization": f"Bearer {KEY}"}):
        assert outcome_now(known, Credentials(**shown)) is not None
    token = Credentials(authorization=f"Bearer {TOKEN}", api_key=KEY)
    assert outcome_now(known, token) == ("jwt" if before else None)
    assert outcome_now(known, Credentials(authorization=f"Bearer {TOKEN}", api_key="bad")) in ("api_key_bad", None)


async def test_a_certificate_for_tls_alone_leaves_the_key_to_prove_the_caller() -> None:
    only_keys = Chain(keys=Knows(KEY, "api_key"))
    assert await outcome(only_keys, Credentials(certificate=CERTIFICATE, api_key=KEY)) == "api_key"


@given(st.text(), st.text(), st.binary())
async def test_garbage_is_refused_and_nothing_else(authorization: str, api_key: str, der: bytes) -> None:
    credentials = Credentials(authorization=authorization, api_key=api_key, certificate=der)
    if credentials != Credentials():
        with pytest.raises(Unauthenticated):
            await chain(anonymous=True).authenticate(credentials)
