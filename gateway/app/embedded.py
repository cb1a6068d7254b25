"""Policies decided in process: the bundle in force, and how it follows the files on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from gateway import __version__
from gateway.app.clocks import clock_ns, clock_us
from gateway.app.data import DataDir
from gateway.app.failure import StartupError
from gateway.app.leniency import Leniency
from gateway.config import Config
from gateway.observer.state import PolicyState
from gateway.policy.bundle import Bundle
from gateway.policy.cache import DecisionCache
from gateway.policy.confirmed import ConfirmedPoint
from gateway.policy.findings import PolicyInvalid
from gateway.policy.pdp import DecisionPoint
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.reloader import Reloader, look, vetted
from gateway.policy.revisions import NoSuchRevision, Revisions
from gateway.policy.schema import Gateway
from gateway.policy.signing import read_trust

_log = logging.getLogger("gateway.policy")


def gateway_facts(config: Config) -> Gateway:
    """What policies may know of this gateway."""
    return Gateway(instance=config.instance, region=config.region, env=config.environment, version=__version__)


def cache_of(config: Config) -> DecisionCache | None:
    """The bounds of the exact cache; None when it is off."""
    entries = config.policy.cache_entries
    return DecisionCache(max_entries=entries) if entries else None


def reading(signers: Path | None) -> Callable[[Path], Bundle]:
    """Reads and vets a bundle, which one of ``signers`` must have signed if there are any.

    The function raises PolicyInvalid, for a file of signers that cannot be used too.
    """

    def read(path: Path) -> Bundle:
        return vetted(path, trust=read_trust(signers) if signers is not None else None)

    return read


class Embedded:
    """Policies decided in process, from files; a change is checked, tested, tried and swapped in whole.

    While a revision is pinned (``gateway policy rollback``) it serves instead of what the directory holds. With
    ``policy.max_staleness_s`` nothing is decided any more that long after the bundle in force was last what its source
    holds: when a newer one is refused, or the directory cannot be read.
    """

    def __init__(self, config: Config, data: DataDir, *, leads: bool) -> None:
        self._path = config.policy.dir
        self._config = config
        self._revisions = Revisions(data.policy, clock_us=clock_us)
        self._leniency = Leniency(config.policy, data.grants)
        self._leads = leads  # one worker keeps the history; the others only follow
        self._activated_us = clock_us()
        self._stale = ""

    def open(self) -> None:
        """Read and vet the policy. Raises: StartupError with every finding; no gateway runs without a policy."""
        keys = self._config.policy
        try:
            read = reading(keys.signers)
            seen = look(self._path, self._revisions)
            bundle = self._revisions.load(seen[0]) if seen[0] else read(self._path)
            self._point = EmbeddedPoint(
                bundle,
                gateway=gateway_facts(self._config),
                cache=cache_of(self._config),
                record_input=keys.record_input,
                verify=keys.cache_verify,
            )
            softened = self._leniency.over(self._point)
        except NoSuchRevision as error:
            raise StartupError(
                f"the pinned policy revision is gone: {error}; pin another (gateway policy rollback), or none (release)"
            ) from error
        except PolicyInvalid as error:
            raise StartupError(f"the policy in {self._path} cannot be used:\n{error}") from error
        self._confirmed = ConfirmedPoint(softened, max_age_s=keys.max_staleness_s) if keys.max_staleness_s else None
        self._outer: DecisionPoint = self._confirmed or softened
        self._reloader = Reloader(self._path, self._point, revisions=self._revisions, read=read, seen=seen)
        self._confirm(at_ns=clock_ns())
        if self._leads:
            self._keep(bundle, previous="")

    @property
    def point(self) -> DecisionPoint:
        return self._outer

    @property
    def ready(self) -> bool:
        return self._confirmed is None or not self._confirmed.doubt(clock_ns())

    def state(self) -> PolicyState:
        bundle, refused = self._point.bundle, self._reloader.refused
        stale = self._confirmed.doubt(clock_ns()) if self._confirmed is not None else ""
        return PolicyState(
            revision=bundle.revision,
            digest=bundle.digest,
            error="; ".join(filter(None, (stale, str(refused) if refused is not None else ""))),
            activated_us=self._activated_us,
            author=self._revisions.pinned_by() or bundle.author,
            checks=bundle.checks,
        )

    async def step(self) -> None:
        self._leniency.follow()
        at_ns = clock_ns()
        change = await self._reloader.step()
        self._confirm(at_ns=at_ns)
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

    def _confirm(self, *, at_ns: int) -> None:
        """The bundle in force is what its source held at ``at_ns``, unless something there was refused."""
        if self._confirmed is None:
            return
        if self._reloader.refused is None:
            self._confirmed.confirm(at_ns)
        stale = self._confirmed.doubt(clock_ns())
        if stale != self._stale:
            _log.log(logging.ERROR if stale else logging.INFO, "policy.stale", extra={"cause": stale or "over"})
        self._stale = stale

    def _keep(self, bundle: Bundle, *, previous: str) -> None:
        """Keep the revision and its activation; a restart on the same policy is no activation."""
        self._revisions.save(bundle)
        current = self._revisions.current()
        if current != bundle.digest:
            author = self._revisions.pinned_by() or bundle.author
            self._revisions.note("activated", bundle, previous=previous or current, author=author, text=bundle.checks)
