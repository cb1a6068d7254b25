"""Several ways to prove an identity, in one order."""

from __future__ import annotations

from typing import Protocol

from gateway.errors import Unauthenticated
from gateway.identity.key_file import KEY_START
from gateway.identity.names import RESERVED
from gateway.types import Credentials, Principal

_ANONYMOUS = Principal(id=RESERVED, kind="anonymous", tenant=RESERVED, auth="none")


class Certificates(Protocol):
    def prove(self, certificate: bytes) -> Principal:
        """Whom a verified client certificate (DER) names. Raises: Unauthenticated."""
        ...


class Tokens(Protocol):
    def known(self, token: str) -> Principal | None:
        """Whom a bearer token names that was proved before, while that holds. Raises: Unauthenticated."""
        ...

    async def prove(self, token: str) -> Principal:
        """Whom a bearer token names; may wait for signing keys. Raises: Unauthenticated."""
        ...


class Keys(Protocol):
    def prove(self, key: str) -> Principal:
        """For whom an API key was made. Raises: Unauthenticated."""
        ...


class Chain:
    """An Authenticator that takes client certificates, bearer tokens and API keys, each where configured.

    Every credential that is shown must be good: a bad one is never outvoted by a good one, nor taken for
    none. The caller is whom the first good one proves, in the order certificate, token, key. With
    ``anonymous``, showing nothing at all is allowed. A certificate shown where ``certificates`` is None
    served TLS only: it neither proves anybody nor refuses a caller who proves it otherwise.
    """

    def __init__(
        self,
        *,
        certificates: Certificates | None = None,
        tokens: Tokens | None = None,
        keys: Keys | None = None,
        anonymous: bool = False,
    ) -> None:
        self._certificates = certificates
        self._tokens = tokens
        self._keys = keys
        self._anonymous = anonymous

    def trust(self, *, certificates: Certificates | None, tokens: Tokens | None) -> None:
        """From the next call on, take certificates and tokens by these; calls under way end as they began."""
        self._certificates = certificates
        self._tokens = tokens

    def authenticate_now(self, credentials: Credentials) -> Principal | None:
        """As ``authenticate``; None for a token that was not proved before, since its keys may have to be fetched."""
        if (
            self._keys is not None
            and credentials.api_key
            and not (credentials.authorization or credentials.certificate)
        ):
            return self._keys.prove(credentials.api_key)  # most callers
        certificate = self._prove_certificate(credentials.certificate)
        bearer = None
        if credentials.authorization:
            text = _bearer(credentials.authorization)
            bearer = self._prove_key(text) if text.startswith(KEY_START) else self._tokens_taken().known(text)
            if bearer is None:
                return None
        return self._first(credentials, certificate, bearer)

    async def authenticate(self, credentials: Credentials) -> Principal:
        """The principal these credentials prove. Raises: Unauthenticated."""
        certificate = self._prove_certificate(credentials.certificate)
        bearer = None
        if credentials.authorization:
            text = _bearer(credentials.authorization)
            bearer = self._prove_key(text) if text.startswith(KEY_START) else await self._tokens_taken().prove(text)
        return self._first(credentials, certificate, bearer)

    def _first(self, credentials: Credentials, certificate: Principal | None, bearer: Principal | None) -> Principal:
        key = self._prove_key(credentials.api_key) if credentials.api_key else None
        proved = certificate or bearer or key
        if proved is not None:
            return proved
        if credentials.certificate:
            raise Unauthenticated("certificate_not_accepted")
        if not self._anonymous:
            raise Unauthenticated("no_credential")
        return _ANONYMOUS

    def _prove_certificate(self, certificate: bytes) -> Principal | None:
        if not certificate or self._certificates is None:
            return None
        return self._certificates.prove(certificate)

    def _tokens_taken(self) -> Tokens:
        if self._tokens is None:
            raise Unauthenticated("bearer_token_not_accepted")
        return self._tokens

    def _prove_key(self, text: str) -> Principal:
        if self._keys is None:
            raise Unauthenticated("api_key_not_accepted")
        return self._keys.prove(text)


def _bearer(authorization: str) -> str:
    """The token of ``authorization: Bearer TOKEN`` (RFC 6750; the scheme's case does not matter)."""
    scheme, _, token = authorization.partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("authorization_not_bearer")
    return token
