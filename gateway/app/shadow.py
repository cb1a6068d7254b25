"""Follows the candidate bundle on disk: vets it, has it decide along, and writes its beginning and end down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from gateway.app.chronicle import Scribe
from gateway.app.shadow_follower import ShadowFollower
from gateway.policy.bundle import Bundle
from gateway.policy.findings import PolicyInvalid
from gateway.policy.reloader import Fingerprint, fingerprint
from gateway.policy.shadow_report import ShadowReport, read_report

_log = logging.getLogger("gateway.policy")


class ShadowRollout:
    """One candidate at a time, from ``path`` (None: none). For the observer's loop; ``step`` every few seconds.

    A candidate passes the same checks as a policy in force; one that fails them is shown and does not replace the one
    that decides along. A restart goes on with the counts of the same candidate. ``read`` vets; blocking.
    """

    def __init__(
        self,
        path: Path | None,
        follower: ShadowFollower,
        scribe: Scribe,
        *,
        folder: Path,
        read: Callable[[Path], Bundle],
        clock_us: Callable[[], int],
    ) -> None:
        self._path = path
        self._follower = follower
        self._scribe = scribe
        self._folder = folder
        self._read = read
        self._clock_us = clock_us
        self._seen: Fingerprint | None = None

    def open(self) -> None:
        """Remember the candidate of an earlier run."""
        self._follower.adopt(read_report(self._folder) or ShadowReport())

    async def step(self) -> None:
        """Look once. Raises: LedgerError, OSError; what was not done is tried again at the next step."""
        if self._path is None:
            await self._ended()
            return
        seen = fingerprint(self._path)
        if seen == self._seen:
            return
        try:
            bundle = await asyncio.to_thread(self._read, self._path)
        except (PolicyInvalid, OSError) as error:
            _log.error("policy.shadow_refused", extra={"path": str(self._path), "findings": str(error)})
            self._follower.refuse(str(error))
        else:
            await self._take(bundle)
            self._follower.refuse("")
        self._seen = seen

    def close(self) -> None:
        """End the candidate's process; its counts stay for the next run."""
        self._follower.close()

    async def _take(self, bundle: Bundle) -> None:
        """Have ``bundle`` decide along, in place of another or from where an earlier run of it stopped."""
        report = self._follower.report
        if bundle.digest != report.digest:
            await self._ended()
            facts = {"revision": bundle.revision, "digest": bundle.digest, "path": str(self._path)}
            await self._scribe.event("policy_shadow_started", fields=facts)
            _log.info("policy.shadow_started", extra=facts)
            await asyncio.to_thread(self._follower.start, bundle, now_us=self._clock_us())
        elif not self._follower.deciding:
            await asyncio.to_thread(self._follower.resume, bundle)

    async def _ended(self) -> None:
        """Write down what the candidate before came to, if there was one."""
        report = self._follower.report
        if not report.active:
            return
        changes = {f"changed_{kind}": count for kind, count in report.changes.items()}
        facts: dict[str, str | int] = {"revision": report.revision, "digest": report.digest, "seen": report.seen}
        facts |= {"compared": report.compared, **changes}
        await self._scribe.event("policy_shadow_ended", fields=facts)
        _log.info("policy.shadow_ended", extra=facts)
        await asyncio.to_thread(self._follower.forget)
