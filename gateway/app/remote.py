"""Policies decided by an OPA server: what it must show first, and what is known of the revision that it serves."""

from __future__ import annotations

import asyncio
import logging
import ssl

from gateway.app.clocks import clock_ns, clock_us
from gateway.app.data import DataDir
from gateway.app.embedded import cache_of, gateway_facts
from gateway.app.failure import StartupError
from gateway.app.leniency import Leniency
from gateway.config import Config
from gateway.errors import PolicyUnavailable
from gateway.observer.state import PolicyState
from gateway.policy.confirmed import ConfirmedPoint
from gateway.policy.connections import Address, Pool
from gateway.policy.findings import PolicyInvalid
from gateway.policy.local_canaries import LocalCanaries
from gateway.policy.opa import OpaPoint
from gateway.policy.opa_control import NotReady, OpaControl
from gateway.policy.opa_reads import Unknowable, reads_of_server
from gateway.policy.opa_vetted import VettedPoint
from gateway.policy.pdp import DecisionPoint
from gateway.policy.signing import read_trust

_log = logging.getLogger("gateway.policy")


class Remote:
    """Decisions of an OPA server. Nothing is decided before it has shown that it may decide: its version, bundles that
    are active and signed by ``policy.signers``, the canaries in ``policy.dir`` answered as written by each revision.

    With ``policy.max_staleness_s`` nothing is decided that long after the server last reached its bundles' source.
    """

    def __init__(self, config: Config, data: DataDir) -> None:
        self._config = config
        self._leniency = Leniency(config.policy, data.grants)
        self._canaries = LocalCanaries(config.policy.dir)
        self._error = "the OPA server was not asked yet"
        self._learned = ("", "")

    def open(self) -> None:
        """Raises: StartupError for an address that cannot be one, and for files that cannot be used."""
        keys = self._config.policy
        try:
            self._address = Address.parse(keys.opa_url)
            self._trust = read_trust(keys.signers) if keys.signers is not None else None
            self._canaries.follow()
            self._opa = OpaPoint(
                Pool(self._address, tls=ssl.create_default_context() if self._address.tls else None),
                self._address,
                gateway=gateway_facts(self._config),
                clock_ns=clock_ns,
                budget_ms=keys.opa_timeout_ms,
            )
            self._vetted = VettedPoint(
                self._opa,
                canaries=lambda: self._canaries.stated,
                cache=cache_of(self._config) if keys.opa_cache else None,
            )
            self._confirmed = ConfirmedPoint(self._leniency.over(self._vetted), max_age_s=keys.max_staleness_s)
        except ValueError as error:
            raise StartupError(f"policy.opa_url: {error}") from error
        except PolicyInvalid as error:
            raise StartupError(f"policy: {error}") from error
        if not self._canaries.stated:
            _log.warning("policy.no_canaries", extra={"path": str(keys.dir), "engine": "opa"})

    @property
    def point(self) -> DecisionPoint:
        return self._confirmed

    @property
    def ready(self) -> bool:
        return not self._error and not self._confirmed.doubt(clock_ns())

    def state(self) -> PolicyState:
        error = self._error or self._confirmed.doubt(clock_ns())
        return PolicyState(revision=self._opa.revision or "at the OPA server", error=error)

    async def step(self) -> None:
        """Look at the server and at the files beside it; decisions go on meanwhile."""
        self._leniency.follow()
        try:
            if self._canaries.follow():
                self._vetted.again()
            async with OpaControl(self._address) as control:
                await self._look(control)
        except NotReady as error:
            self._confirmed.distrust(str(error))
            self._say(str(error))
        except (PolicyUnavailable, PolicyInvalid) as error:
            cause = f": {error.__cause__}" if error.__cause__ is not None else ""
            self._say(f"{error}{cause}")
        else:
            self._say("")

    def close(self) -> None:
        self._opa.close()

    async def _look(self, control: OpaControl) -> None:
        """Raises: NotReady, PolicyUnavailable."""
        trust = self._trust
        await control.preflight(
            keyids=trust.keyids if trust is not None else frozenset(), scope=trust.scope if trust is not None else ""
        )
        at_ns = clock_ns()
        if self._config.policy.max_staleness_s:
            at_ns -= (clock_us() - await control.refreshed_us()) * 1000
        self._confirmed.confirm(at_ns)
        revision = await self._vetted.probe()
        if self._config.policy.opa_cache:
            await self._learn(control, revision)

    async def _learn(self, control: OpaControl, revision: str) -> None:
        """What ``revision`` reads, asked once. A revision whose modules change under one name is never cached."""
        modules = await control.modules()
        text = "\0".join(f"{name}\0{modules[name]}" for name in sorted(modules))
        if (revision, text) == self._learned:
            return
        reused = revision == self._learned[0]
        self._learned = (revision, text)
        try:
            if reused:
                raise Unknowable(f"the server changed its modules under one revision, {revision!r}")
            await control.owns_everything()
            reads = await asyncio.to_thread(reads_of_server, modules)
            if await self._vetted.probe() != revision:
                self._learned = ("", "")
                return
            self._vetted.learn(revision, reads)
        except Unknowable as error:
            self._vetted.forget()
            _log.warning("policy.opa_cache_off", extra={"revision": revision, "cause": str(error)})

    def _say(self, error: str) -> None:
        if error != self._error:
            facts = {"url": self._config.policy.opa_url}
            if error:
                _log.error("policy.opa_not_ready", extra={**facts, "cause": error})
            else:
                _log.info("policy.opa_ready", extra=facts)
        self._error = error
