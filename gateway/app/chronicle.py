"""What changed in the deployment, written to the governance ledger: policies, models, keys, configuration.

The chronicler compares what is true now (workers' state files, the key file, the configuration) with what it wrote
down last, and writes one event for each difference. What it wrote down last is kept beside the projections, so that a
restart repeats nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from gateway.identity.key_file import KeyFileError, parse_keys
from gateway.ledger.events import Value
from gateway.malformed import MALFORMED
from gateway.observer import state

Fields: TypeAlias = Mapping[str, Value]


class Scribe(Protocol):
    """Writes events that last."""

    async def event(self, kind: str, *, actor: str = "", reason: str = "", fields: Fields | None = None) -> None:
        """Return when the event is durable. Raises: LedgerUnavailable."""
        ...


_MODEL_KINDS = {"READY": "model_loaded", "UNAVAILABLE": "model_failed"}
"""States worth an event; a version on its way to one of them is not."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that changed."""

    kind: str
    reason: str = ""
    fields: Fields = field(default_factory=dict)
    actor: str = ""


class Seen(msgspec.Struct, kw_only=True):
    """What was written down last, by subject; the values are compared, never interpreted."""

    policy: dict[str, str] = {}
    models: dict[str, str] = {}
    keys: dict[str, str] = {}
    config: dict[str, str] = {}


class Chronicle:
    """Writes down what changed; ``step`` about each second. ``config`` is the configuration as flat text."""

    def __init__(self, scribe: Scribe, *, states: Path, keys: Path, memory: Path, config: Mapping[str, str]) -> None:
        self._scribe = scribe
        self._states = states
        self._keys = keys
        self._memory = memory
        self._config = config
        self._seen = Seen()

    def open(self) -> None:
        """Remember what was written down before; a memory that cannot be read is begun anew."""
        try:
            self._seen = msgspec.json.decode(self._memory.read_bytes(), type=Seen)
        except (OSError, *MALFORMED):
            self._seen = Seen()

    async def step(self) -> None:
        """Write every change since the last step. Raises: LedgerUnavailable; what was not written is tried again."""
        now = self.now()
        changes = list(differences(self._seen, now))
        for change in changes:
            await self._scribe.event(change.kind, actor=change.actor, reason=change.reason, fields=change.fields)
        if now != self._seen:
            draft = self._memory.with_suffix(".new")
            draft.write_bytes(msgspec.json.encode(now))
            draft.replace(self._memory)
        self._seen = now

    def now(self) -> Seen:
        """What is true now. A worker that is gone, or a key file that cannot be read, leaves what was known."""
        seen = Seen(config=dict(self._config), keys=self._known_keys())
        workers = {f"worker {worker.worker}": worker for worker in state.read(self._states)}
        seen.policy = {name: text for name, text in self._seen.policy.items() if name not in workers}
        seen.models = {at: text for at, text in self._seen.models.items() if at.partition(": ")[0] not in workers}
        for name, worker in workers.items():
            known = worker.policy
            fact = {"revision": known.revision, "digest": known.digest, "error": known.error}
            seen.policy[name] = json.dumps({**fact, "author": known.author, "checks": known.checks})
            for model in worker.models:
                fact = {"state": model.state, "digest": model.digest, "reason": model.reason}
                seen.models[f"{name}: {model.name}:{model.version}"] = json.dumps(fact)
        return seen

    def _known_keys(self) -> dict[str, str]:
        try:
            stored = parse_keys(self._keys.read_bytes(), str(self._keys))
        except FileNotFoundError:
            return {}
        except (OSError, KeyFileError):
            return self._seen.keys
        facts = {}
        for key in stored:
            fact = {"id": key.id, "tenant": key.tenant, "revoked_s": key.revoked_s, "expires_s": key.expires_s}
            facts[key.prefix] = json.dumps(fact)
        return facts


def differences(before: Seen, after: Seen) -> Iterator[Event]:
    """The events that lead from ``before`` to ``after``. Pure."""
    for worker, text in after.policy.items():
        fact = json.loads(text)
        if text == before.policy.get(worker):
            continue
        kind = "policy_refused" if fact["error"] else "policy_loaded"
        what = {"at": worker, "revision": fact["revision"], "digest": fact["digest"], "checks": fact["checks"]}
        yield Event(kind, fact["error"], what, "" if fact["error"] else fact["author"])
    yield from _model_events(before, after)
    yield from _key_events(before.keys, after.keys)
    names = before.config.keys() | after.config.keys()
    changed = sorted(name for name in names if before.config.get(name) != after.config.get(name))
    if changed and before.config:
        yield Event("config_changed", fields={"keys": changed})


def _model_events(before: Seen, after: Seen) -> Iterator[Event]:
    for place, text in after.models.items():
        if text == before.models.get(place):
            continue
        fact = json.loads(text)
        kind = _MODEL_KINDS.get(fact["state"])
        if kind == "model_failed" and fact["reason"] == "unloaded":
            kind = "model_unloaded"
        if kind is not None:
            worker, _, model = place.partition(": ")
            yield Event(kind, fact["reason"], {"at": worker, "model": model, "digest": fact["digest"]})
    for place in sorted(before.models.keys() - after.models.keys()):
        worker, _, model = place.partition(": ")
        ended = json.loads(before.models[place])["state"] != "READY"
        if worker in after.policy and not ended:  # the worker lives, the model is gone
            yield Event("model_unloaded", fields={"at": worker, "model": model})


def _key_events(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Event]:
    for prefix, text in after.items():
        if text == before.get(prefix):
            continue
        fact = json.loads(text)
        kind = "keys_revoked" if fact["revoked_s"] else "keys_changed" if prefix in before else "keys_created"
        yield Event(kind, fields={"prefix": prefix, "id": fact["id"], "tenant": fact["tenant"]})
    for prefix in sorted(before.keys() - after.keys()):
        yield Event("keys_removed", fields={"prefix": prefix})
