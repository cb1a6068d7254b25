"""The decision point of a worker, and how it follows the policies on disk."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gateway import __version__
from gateway.app.clocks import clock_ns, clock_us
from gateway.app.data import DataDir
from gateway.app.failure import StartupError
from gateway.config import Config
from gateway.errors import PolicyUnavailable
from gateway.observer.state import PolicyState
from gateway.policy.bundle import Bundle
from gateway.policy.cache import DecisionCache
from gateway.policy.connections import Address, Pool
from gateway.policy.findings import PolicyInvalid
from gateway.policy.modes import ModedPoint, ModeEntry, read_entries
from gateway.policy.opa import OpaPoint
from gateway.policy.opa_control import NotReady, OpaControl
from gateway.policy.pdp import DecisionPoint
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.reloader import Reloader, fingerprint, vetted
from gateway.policy.revisions import NoSuchRevision, Revisions
from gateway.policy.schema import Gateway
from gateway.policy.signing import read_trust

_log = logging.getLogger("gateway.policy")


class Policies(Protocol):
    """What a worker needs of its policy engine."""

    @property
    def point(self) -> DecisionPoint:
        """Who decides."""
        ...

    @property
    def ready(self) -> bool:
        """Whether decisions can be made now."""
        ...

    def state(self) -> PolicyState:
        """What is in force, and why something newer is not."""
        ...

    async def step(self) -> None:
        """Look for changes. Never raises for a bad policy: the last good one stays."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def gateway_facts(config: Config) -> Gateway:
    """What policies may know of this gateway."""
    return Gateway(instance=config.instance, region=config.region, env=config.environment, version=__version__)


def reading(signers: Path | None) -> Callable[[Path], Bundle]:
    """Reads and vets a bundle, which one of ``signers`` must have signed if there are any.

    The function raises PolicyInvalid, for a file of signers that cannot be used too.
    """

    def read(path: Path) -> Bundle:
        return vetted(path, trust=read_trust(signers) if signers is not None else None)

    return read


class Embedded:
    """Policies decided in process, from files; a change is checked, tested, tried and swapped in whole.

    While a revision is pinned (``gateway policy rollback``) it serves instead of what the directory holds.
    """

    def __init__(self, config: Config, data: DataDir, *, leads: bool) -> None:
        self._path = config.policy.dir
        self._config = config
        self._revisions = Revisions(data.policy, clock_us=clock_us)
        self._leads = leads  # one worker keeps the history; the others only follow
        self._activated_us = clock_us()

    def open(self) -> None:
        """Read and vet the policy. Raises: StartupError with every finding; no gateway runs without a policy."""
        try:
            read = reading(self._config.policy.signers)
            pinned = self._revisions.pinned()
            bundle = self._revisions.load(pinned) if pinned else read(self._path)
            exceptions = self._exceptions()
        except NoSuchRevision as error:
            raise StartupError(f"the pinned policy revision is gone: {error}; see gateway policy history") from error
        except PolicyInvalid as error:
            raise StartupError(f"the policy in {self._path} cannot be used:\n{error}") from error
        entries = self._config.policy.cache_entries
        self._point = EmbeddedPoint(
            bundle,
            gateway=gateway_facts(self._config),
            cache=DecisionCache(max_entries=entries) if entries else None,
        )
        self._moded = ModedPoint(self._point, exceptions)
        self._announce()
        self._reloader = Reloader(self._path, self._point, revisions=self._revisions, read=read)
        if self._leads:
            self._keep(bundle, previous="")

    @property
    def point(self) -> DecisionPoint:
        return self._moded if self._config.policy.exceptions is not None else self._point

    @property
    def ready(self) -> bool:
        return True

    def state(self) -> PolicyState:
        bundle, refused = self._point.bundle, self._reloader.refused
        return PolicyState(
            revision=bundle.revision,
            digest=bundle.digest,
            error=str(refused) if refused is not None else "",
            activated_us=self._activated_us,
        )

    async def step(self) -> None:
        self._follow_exceptions()
        change = await self._reloader.step()
        if change is None:
            return
        if change.bundle is not None:
            self._activated_us = clock_us()
            _log.info("policy.activated", extra={"revision": change.bundle.revision})
            if self._leads:
                self._keep(change.bundle, previous=change.previous.revision)
        elif change.refused is not None:
            _log.error("policy.refused", extra={"serving": change.previous.revision, "findings": str(change.refused)})
            if self._leads:
                self._revisions.refused(change.refused, current=change.previous.revision)

    def close(self) -> None:
        return

    def _exceptions(self) -> tuple[ModeEntry, ...]:
        """The exceptions on file, and when that file was written. Raises: PolicyInvalid."""
        path = self._config.policy.exceptions
        self._excepted = fingerprint(path) if path is not None else ()
        return read_entries(path) if path is not None else ()

    def _follow_exceptions(self) -> None:
        """Take a changed file of exceptions; one that cannot be read leaves the last one in force."""
        path = self._config.policy.exceptions
        if path is None or fingerprint(path) == self._excepted:
            return
        try:
            self._moded.replace(self._exceptions())
        except PolicyInvalid as error:
            _log.error("policy.exceptions_refused", extra={"findings": str(error)})  # a finding, no trace
        else:
            self._announce()

    def _announce(self) -> None:
        """Say which denials only warn: nobody should find out by accident."""
        for entry in self._moded.in_force(clock_us()):
            facts = {"reason": entry.reason, "tenant": entry.tenant, "model": entry.model, "owner": entry.owner}
            _log.warning("policy.not_enforced", extra={**facts, "until_us": entry.until_us})

    def _keep(self, bundle: Bundle, *, previous: str) -> None:
        """Keep the revision and its activation; a restart on the same policy is no activation."""
        self._revisions.save(bundle)
        current = self._revisions.current()
        if current != bundle.digest:
            self._revisions.note("activated", bundle, previous=previous or current)


class Remote:
    """Policies decided by an OPA server. Not ready before the server has shown that it may decide."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._error = "the OPA server was not asked yet"

    def open(self) -> None:
        """Raises: StartupError when the server's address cannot be one."""
        try:
            self._address = Address.parse(self._config.policy.opa_url)
        except ValueError as error:
            raise StartupError(f"policy.opa_url: {error}") from error
        tls = ssl.create_default_context() if self._address.tls else None
        self._point = OpaPoint(
            Pool(self._address, tls=tls),
            self._address,
            gateway=gateway_facts(self._config),
            clock_ns=clock_ns,
            budget_ms=self._config.policy.opa_timeout_ms,
        )

    @property
    def point(self) -> OpaPoint:
        return self._point

    @property
    def ready(self) -> bool:
        return not self._error

    def state(self) -> PolicyState:
        return PolicyState(revision=self._point.revision or "at the OPA server", error=self._error)

    async def step(self) -> None:
        """Ask for version and bundles; decisions go on meanwhile, and fail closed by themselves."""
        try:
            async with OpaControl(self._address) as control:
                await control.preflight()
        except (NotReady, PolicyUnavailable) as error:
            if str(error) != self._error:
                _log.error("policy.opa_not_ready", extra={"url": self._config.policy.opa_url, "cause": str(error)})
            self._error = str(error)
        else:
            if self._error:
                _log.info("policy.opa_ready", extra={"url": self._config.policy.opa_url})
            self._error = ""

    def close(self) -> None:
        self._point.close()


async def policies(config: Config, data: DataDir, *, leads: bool) -> Embedded | Remote:
    """The engine that the configuration names, open. Raises: StartupError."""
    if config.policy.engine == "embedded":
        embedded = Embedded(config, data, leads=leads)
        embedded.open()
        return embedded
    remote = Remote(config)
    remote.open()
    await remote.step()
    return remote
