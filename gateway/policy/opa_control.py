"""The OPA server's control plane, through opa-python-client: the only module that knows that package.

Its defaults are wrong for a request path (three evaluations for one error, 0.9 s when the server is down), so decisions
go over ``opa``'s own connections. Here it reads version, configuration and status, and decides plainly where a few
hundred microseconds do not matter. Every exception of its transports means "could not ask".
"""

from __future__ import annotations

import asyncio
import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from opa_client.errors import PolicyNotFoundError
from opa_client.opa_async import AsyncOpaClient

from gateway.errors import PolicyUnavailable
from gateway.policy.connections import Address
from gateway.policy.opa import CouldNotAsk, interpret
from gateway.policy.opa_reads import Unknowable
from gateway.policy.verdict import Verdict
from gateway.policy.wire import Response

MIN_VERSION = (1, 21, 3)
"""Before it, ``signing`` without ``keyid`` let an unsigned bundle in (GHSA-g2pf-6v5v-qcc8)."""

_NEVER = "0001-01-01"


class NotReady(Exception):
    """The server may not decide yet, or not as it is configured. The text says what to change."""


@dataclass(frozen=True, slots=True)
class BundleState:
    """One bundle as the server reports it. ``error`` is "" when the last download was accepted; ``refreshed_us`` is
    when its source last answered, in microseconds since 1970 (0: never, or not told)."""

    name: str
    keyid: str
    scope: str
    revision: str
    activated: bool
    error: str
    refreshed_us: int


class _UnixClient(AsyncOpaClient):  # type: ignore[misc]  # the package has no types
    """The client over a Unix socket: it has no option for that, so its session is made here."""

    socket = ""

    async def _init_session(self) -> None:
        self._session = aiohttp.ClientSession(
            headers=self.headers,
            connector=aiohttp.UnixConnector(self.socket),
            timeout=aiohttp.ClientTimeout(total=self.timeout),
        )


class OpaControl:
    """One server's control plane. An async context manager; for one event loop."""

    def __init__(self, address: Address, *, token: str = "", timeout_s: float = 1.5) -> None:
        self._address = address
        self._token = token or None
        self._timeout_s = timeout_s
        self._client: AsyncOpaClient | None = None

    async def __aenter__(self) -> Self:
        where = self._address
        kind = _UnixClient if where.path else AsyncOpaClient
        client = kind(
            host="localhost" if where.path else where.host,
            port=where.port or 8181,
            ssl=where.tls,
            token=self._token,
            retries=0,
            timeout=self._timeout_s,
        )
        if where.path:
            client.socket = where.path
        self._client = await client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close_connection()

    async def version(self) -> str:
        """The server's version. Raises: PolicyUnavailable."""
        labels = _dig(await self._get("get_config"), "result", "labels")
        return str(labels.get("version", ""))

    async def bundles(self) -> tuple[BundleState, ...]:
        """Every configured bundle; without a status plugin none is known to be active. Raises: PolicyUnavailable."""
        configured = _dig(await self._get("get_config"), "result", "bundles")
        try:
            reported = _dig(await self._get("get_status"), "result", "bundles")
        except PolicyUnavailable:
            reported = {}
        return tuple(_state(name, configured[name], reported.get(name)) for name in sorted(configured))

    async def preflight(self, *, keyids: frozenset[str] = frozenset(), scope: str = "") -> None:
        """Return when the server may decide: new enough, its bundles active, signed by one of ``keyids`` for ``scope``
        if there are any.

        Raises: NotReady, PolicyUnavailable.
        """
        found = await self.version()
        numbers = tuple(int(n) for n in re.findall(r"\d+", found)[:3])
        if numbers < MIN_VERSION:
            raise NotReady(f"OPA {found or 'of unknown version'}: {'.'.join(map(str, MIN_VERSION))} or newer is needed")
        states = await self.bundles()
        for state in states:
            if keyids and state.keyid not in keyids:
                raise NotReady(f"bundle {state.name}: signing keyid {state.keyid!r}, expected {sorted(keyids)}")
            if keyids and state.scope != scope:
                raise NotReady(f"bundle {state.name}: signing scope {state.scope!r}, expected {scope!r}")
            if not state.activated:
                cause = state.error or "never activated; is status configured?"
                raise NotReady(f"bundle {state.name} is not active: {cause}")
        if keyids and not states:
            raise NotReady("no bundle is configured, so nothing is signed")

    async def refreshed_us(self) -> int:
        """When the source of every bundle had last answered. Raises: NotReady when the server does not say."""
        states = await self.bundles()
        oldest = min((state.refreshed_us for state in states), default=0)
        if not oldest:
            raise NotReady("policy.max_staleness_s needs bundles from a service, and the server's status plugin")
        return oldest

    async def modules(self) -> dict[str, str]:
        """The text of every module that the server has. Raises: PolicyUnavailable."""
        names = await self._get("get_policies_list")
        found: dict[str, str] = {}
        for name in names if isinstance(names, list) else ():
            found[str(name)] = str(_dig(await self._get("get_policy", str(name)), "result").get("raw", ""))
        return found

    async def owns_everything(self) -> None:
        """Return when bundles own all policies and data, so that nothing changes without a revision.

        Raises: Unknowable, PolicyUnavailable.
        """
        bundles = _dig(await self._get("get_data", "system/bundles"), "result")
        for name in bundles or {"": {}}:
            manifest = _dig(bundles.get(name), "manifest")
            if manifest.get("roots", [""]) != [""] or not manifest.get("revision"):
                raise Unknowable(f'bundle {name!r} needs a revision and the roots [""], or writes go unseen')

    async def ask(self, raw: bytes, timeout_s: float) -> tuple[Verdict, str]:
        """One decision by the plain transport. An HTTP error loses OPA's body here, so it is never an answer.

        Raises: PolicyUnavailable.
        """
        query = {"strict-builtin-errors": "true", "provenance": "true"}
        document = msgspec.json.decode(raw)
        try:
            async with asyncio.timeout(timeout_s):
                body = await self._open().query_rule(document, "gateway.authz", "decision", query)
            return interpret(Response(200, msgspec.json.encode(body), True))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, CouldNotAsk) as error:
            raise PolicyUnavailable("the policy engine cannot be asked") from error

    async def _get(self, what: str, *arguments: str) -> object:
        """What the client's method answers; None for something that is not there. Raises: PolicyUnavailable."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await getattr(self._open(), what)(*arguments)
        except PolicyNotFoundError:
            return None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise PolicyUnavailable(f"OPA's {what.removeprefix('get_')} cannot be read") from error

    def _open(self) -> AsyncOpaClient:
        if self._client is None:
            raise PolicyUnavailable("the control plane is not open")
        return self._client


def _state(name: str, configured: object, reported: object) -> BundleState:
    status = reported if isinstance(reported, Mapping) else {}
    last = str(status.get("last_successful_activation", _NEVER))
    return BundleState(
        name,
        str(_dig(configured, "signing").get("keyid", "")),
        str(_dig(configured, "signing").get("scope", "")),
        str(status.get("active_revision", "")),
        not last.startswith(_NEVER),
        str(status.get("message", "") or status.get("code", "")),
        _microseconds(str(status.get("last_successful_request", _NEVER))),
    )


def _microseconds(text: str) -> int:
    """A moment as OPA writes it (RFC 3339, nanoseconds); 0 for never."""
    if text.startswith(_NEVER):
        return 0
    try:
        return int(datetime.datetime.fromisoformat(text).timestamp() * 1_000_000)
    except ValueError:
        return 0


def _dig(value: object, *path: str) -> Mapping[str, object]:
    """The object at ``path``; {} when there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}
