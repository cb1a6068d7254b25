"""Requirements: facts about caller and model that the gateway checks itself, whatever the policy believes."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.policy.obligations import Require
from gateway.types import Credentials, ModelFacts, Principal


def unmet(
    requirements: Sequence[Require],
    credentials: Credentials,
    principal: Principal | None,
    model: ModelFacts | None,
    now_s: int,
) -> str:
    """The first requirement that does not hold, in words; "" when all do. What is not known does not hold.

    ``mtls`` is about the connection: its client certificate was verified in the handshake, whoever the caller then
    proved to be by another credential.
    """
    for required in requirements:
        if not _holds(required, credentials, principal, model, now_s):
            age = f" of at most {required.max_age_s} s" if required.max_age_s is not None else ""
            return f"{required.what}{age} is required"
    return ""


def _holds(
    required: Require, credentials: Credentials, principal: Principal | None, model: ModelFacts | None, now_s: int
) -> bool:
    match required.what:
        case "mtls":
            return credentials.certificate != b""
        case "fresh_credential":
            if principal is None or required.max_age_s is None or principal.authenticated_s <= 0:
                return False
            # A credential from the future is not fresh, it is wrong; a minute of clock skew is neither.
            return -60 <= now_s - principal.authenticated_s <= required.max_age_s
        case "signed_model":
            return model is not None and model.signed
        case "approved_model":
            return model is not None and model.stage in ("approved", "released")
