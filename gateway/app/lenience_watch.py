"""Shows what is not enforced: emergency grants and exceptions, in metrics and in the governance ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from gateway.app.chronicle import Scribe
from gateway.malformed import MALFORMED
from gateway.observer.openmetrics import Gauge
from gateway.policy.breakglass import read_grants, read_signers
from gateway.policy.findings import PolicyInvalid
from gateway.policy.modes import Grant, ModeEntry, read_entries


class Written(msgspec.Struct, kw_only=True):
    """Grants, and files that are none, that were written down: each once, and its end once."""

    begun: dict[str, Grant] = {}
    refused: dict[str, str] = {}


class LenienceWatch:
    """Reads the same files as the workers. For the observer's loop; ``step`` about each second.

    ``memory`` keeps what was written down, so that a restart repeats nothing.
    """

    def __init__(
        self,
        scribe: Scribe,
        *,
        signers: Path | None,
        grants: Path,
        exceptions: Path | None,
        memory: Path,
        clock_us: Callable[[], int],
    ) -> None:
        self._scribe = scribe
        self._signers = signers
        self._folder = grants
        self._exceptions = exceptions
        self._memory = memory
        self._clock_us = clock_us
        self._written = Written()
        self._entries: tuple[ModeEntry, ...] = ()

    def open(self) -> None:
        """Remember what was written down before; a memory that cannot be read is begun anew."""
        try:
            self._written = msgspec.json.decode(self._memory.read_bytes(), type=Written)
        except (OSError, *MALFORMED):
            self._written = Written()

    async def step(self) -> None:
        """Write down what began, ended or was refused. Raises: LedgerError, OSError; it is tried again."""
        grants, refused, self._entries = await asyncio.to_thread(self._read)
        now_us = self._clock_us()
        known, holding = self._written.begun, {grant.id: grant for grant in grants if grant.holds(now_us)}
        before = (dict(known), dict(self._written.refused))
        for grant in [holding[name] for name in sorted(holding.keys() - known.keys())]:
            await self._event("begun", grant)
            known[grant.id] = grant
        for name in sorted(known.keys() - holding.keys()):
            await self._event("ended" if now_us >= known[name].until_us else "revoked", known[name])
            del known[name]
        for file, text in sorted(refused.items() - self._written.refused.items()):
            await self._scribe.event("break_glass", reason=text, fields={"state": "refused", "file": file})
        self._written.refused = refused
        if before != (known, refused):
            draft = self._memory.with_suffix(".new")
            draft.write_bytes(msgspec.json.encode(self._written))
            draft.replace(self._memory)

    def families(self) -> Iterator[Gauge]:
        """How much is not enforced now; nothing where the configuration allows no such thing."""
        now_us = self._clock_us()
        active = sum(grant.holds(now_us) for grant in self._written.begun.values())
        yield Gauge(
            name="gateway_policy_breakglass_active",
            help="Emergency grants in force.",
            cells={(): active} if self._signers is not None else {},
        )
        softening = sum(entry.warns and now_us < entry.until_us for entry in self._entries)
        yield Gauge(
            name="gateway_policy_nonenforcing",
            help="Exceptions in force: denials that only warn.",
            cells={(): softening} if self._exceptions is not None else {},
        )

    def _read(self) -> tuple[tuple[Grant, ...], dict[str, str], tuple[ModeEntry, ...]]:
        grants: tuple[Grant, ...] = ()
        refused: dict[str, str] = {}
        entries = self._entries
        try:
            if self._signers is not None:
                grants, found = read_grants(self._folder, read_signers(self._signers))
                refused = dict(found)
        except PolicyInvalid as error:  # the workers keep to the last good signers, so nothing ended
            grants, refused = tuple(self._written.begun.values()), {str(self._signers): str(error)}
        try:
            entries = read_entries(self._exceptions) if self._exceptions is not None else ()
        except PolicyInvalid:
            return grants, refused, entries  # the workers keep to these too, and say so
        return grants, refused, entries

    async def _event(self, state: str, grant: Grant) -> None:
        fields: dict[str, str | int | list[str]] = {
            "state": state,
            "grant": grant.id,
            "subject": grant.subject,
            "tenant": grant.tenant,
            "action": grant.action,
            "model": grant.model or "*",
            "reasons": sorted(grant.reasons),
            "until_us": grant.until_us,
            "signers": list(grant.signers),
        }
        await self._scribe.event("break_glass", actor=grant.signers[0], reason=grant.why, fields=fields)
