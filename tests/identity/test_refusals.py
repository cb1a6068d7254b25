"""Refusals in the log: every cause, no flood, no secret."""

from __future__ import annotations

import logging

import pytest

from gateway.errors import Unauthenticated
from gateway.identity.refusals import RefusalLog
from gateway.types import Credentials, Principal

GOOD = Principal(id="a", kind="user", tenant="t")


class Refuses:
    """Refuses with the key as the cause, believes an empty one."""

    def authenticate_now(self, credentials: Credentials) -> Principal:
        if credentials.api_key:
            raise Unauthenticated(credentials.api_key)
        return GOOD

    async def authenticate(self, credentials: Credentials) -> Principal:
        return self.authenticate_now(credentials)


@pytest.mark.parametrize("waits", [True, False])
async def test_each_cause_is_logged_at_once_and_then_counted(caplog: pytest.LogCaptureFixture, waits: bool) -> None:
    now = 100.0
    log = RefusalLog(Refuses(), lambda: now, every_s=10)

    async def ask(credentials: Credentials) -> Principal | None:
        return await log.authenticate(credentials) if waits else log.authenticate_now(credentials)

    assert await ask(Credentials()) is GOOD

    async def refuse(cause: str, times: int = 1) -> None:
        for _ in range(times):
            with pytest.raises(Unauthenticated):
                await ask(Credentials(api_key=cause))

    with caplog.at_level(logging.WARNING):
        await refuse("api_key_expired: 0123abcd", 500)
        await refuse("jwt_audience")
        now = 109.9
        await refuse("api_key_expired: other")
        now = 110.0
        await refuse("api_key_expired: third")
        now = 50.0  # a clock set back does not silence the log
        await refuse("api_key_expired: fourth")
    assert [(r.message, r.cause, r.more) for r in caplog.records] == [
        ("identity.refused.api_key_expired", "api_key_expired: 0123abcd", 0),
        ("identity.refused.jwt_audience", "jwt_audience", 0),
        ("identity.refused.api_key_expired", "api_key_expired: third", 500),
        ("identity.refused.api_key_expired", "api_key_expired: fourth", 0),
    ]
