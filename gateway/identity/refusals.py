"""Refused credentials in the log: why, but not once for every try."""

from __future__ import annotations

import logging
from collections.abc import Callable

from gateway.errors import Unauthenticated
from gateway.identity.authenticator import Authenticator
from gateway.types import Credentials, Principal

_log = logging.getLogger(__name__)


class RefusalLog:
    """An Authenticator that logs why another one refuses: each kind of cause at once, then every ``every_s`` seconds
    with how many there were in between. The records have each of them; whoever guesses keys cannot fill the log.
    """

    def __init__(self, inner: Authenticator, clock_s: Callable[[], float], *, every_s: float = 15.0) -> None:
        self._inner = inner
        self._clock_s = clock_s
        self._every_s = every_s
        self._logged: dict[str, tuple[float, int]] = {}

    def authenticate_now(self, credentials: Credentials) -> Principal | None:
        """See ``Authenticator.authenticate_now``."""
        try:
            return self._inner.authenticate_now(credentials)
        except Unauthenticated as error:
            self._tell(error)
            raise

    async def authenticate(self, credentials: Credentials) -> Principal:
        """See ``Authenticator.authenticate``."""
        try:
            return await self._inner.authenticate(credentials)
        except Unauthenticated as error:
            self._tell(error)
            raise

    def _tell(self, error: Unauthenticated) -> None:
        now = self._clock_s()
        last_s, more = self._logged.get(error.kind, (float("-inf"), 0))
        if 0 <= now - last_s < self._every_s:
            self._logged[error.kind] = (last_s, more + 1)
            return
        self._logged[error.kind] = (now, 0)
        # The kind is in the event's name: the log thins out events that repeat, and must not take two kinds for one.
        _log.warning(f"identity.refused.{error.kind}", extra={"cause": error.cause, "more": more})
