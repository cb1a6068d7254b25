"""What proves an identity."""

from __future__ import annotations

from typing import Protocol

from gateway.types import Credentials, Principal


class Authenticator(Protocol):
    """Turns credentials into a principal, or refuses."""

    def authenticate_now(self, credentials: Credentials) -> Principal | None:
        """The same without waiting; None when it takes waiting for something. Raises: Unauthenticated."""
        ...

    async def authenticate(self, credentials: Credentials) -> Principal:
        """The principal these credentials prove. Cheap (a few microseconds) for keys and cached tokens.

        Raises: Unauthenticated, whose ``cause`` is for the log and whose text is the same for all causes.
        """
        ...
