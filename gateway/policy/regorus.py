"""The embedded decision point: decides in process, in about 150 microseconds, or 2 when it has decided so before."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Hashable
from random import getrandbits
from typing import Any, Literal

import msgspec

from gateway.errors import Internal
from gateway.policy import schema, slices
from gateway.policy.bundle import Bundle
from gateway.policy.cache import CacheStats, DecisionCache, repeated
from gateway.policy.input import PARAMS, Document, document, encode
from gateway.policy.interpreter import Interpreter
from gateway.policy.keys import compile_key
from gateway.policy.pdp import Query, known
from gateway.policy.schema import Gateway
from gateway.policy.verdict import Verdict, failed, read
from gateway.types import Decision, Reason

_MISMATCH = Reason("cache_mismatch", "deny", "a cached decision differs from a fresh one; the cache is off")


class EmbeddedPoint:
    """Decides with one bundle at a time, for the thread that made it. It never waits.

    ``record_input`` tells what ``Decision.slice`` holds: the values that the policy reads, or the full document.
    ``cache`` gives the bounds of the exact cache, None turns it off. ``verify`` is the share of cache hits that are
    decided again and compared; one mismatch denies and turns the cache off until the next swap.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        gateway: Gateway,
        cache: DecisionCache | None = None,
        params: frozenset[str] = PARAMS,
        record_input: Literal["slice", "full"] = "slice",
        verify: float = 0.0,
    ) -> None:
        """Raises: RegoError when the engine refuses the bundle."""
        self.stats = CacheStats()
        self._gateway = gateway
        self._params = params
        self._full = record_input == "full"
        self._verify = verify
        self._empty_cache = cache
        self._snapshot = self._build(bundle)

    @property
    def bundle(self) -> Bundle:
        """The bundle in force."""
        return self._snapshot.bundle

    @property
    def revision(self) -> str:
        """Names the bundle in force."""
        return self._snapshot.bundle.revision

    def swap(self, bundle: Bundle) -> None:
        """Decide with ``bundle`` from the next query on. All or nothing: when it raises, nothing has changed.

        Raises: RegoError when the engine refuses it.
        """
        self._snapshot = self._build(bundle)

    def decide(self, query: Query) -> Coroutine[Any, Any, Decision]:
        """See ``decide_now``."""
        return known(self.decide_now(query))

    def decide_now(self, query: Query) -> Decision:
        """The policy's decision. Everything but a complete allow is a denial.

        Raises: Internal when the input document breaks its own schema; then no engine was asked.
        """
        snapshot = self._snapshot
        cache, key_of = snapshot.cache, snapshot.key
        if cache is None or key_of is None:
            self.stats.bypasses += 1
            return self._evaluate(snapshot, query)
        key = key_of(query)
        kept = cache.get(key, query.context.received_ns)
        if kept is None:
            self.stats.misses += 1
            decision = self._evaluate(snapshot, query)
            cache.put(key, decision, query.context.received_ns)
            return decision
        if self._verify and random.random() < self._verify:  # noqa: S311  # sampling, not a secret
            return self._compare(snapshot, query, kept)
        self.stats.hits += 1
        return repeated(kept, query)

    def ask(self, raw: bytes) -> Verdict:
        """The verdict on an encoded input document, whatever the engine does."""
        return self._snapshot.ask(raw)

    def _build(self, bundle: Bundle) -> Snapshot:
        """A snapshot with an empty cache of its own, so that no decision outlives its policy."""
        engine = Interpreter(bundle.modules, bundle.data)
        key = None if bundle.reads is None else compile_key(bundle.reads, self._params)
        template = None if self._full or key is None else self._empty_cache
        cache = template.fresh() if template is not None else None
        return Snapshot(bundle, engine, key, cache, slices.cutter(bundle.reads))

    def _evaluate(self, snapshot: Snapshot, query: Query, *, whole: bool = False) -> Decision:
        """Ask the engine. It is given what the record keeps, so nothing else can decide; or the ``whole`` document."""
        facts = document(query, self._gateway, self._params)
        try:
            raw = encode(facts)
            schema.check(raw)
        except (msgspec.ValidationError, TypeError) as error:
            raise Internal(query.context.call_id) from error
        kept, shown = (raw, raw) if self._full else snapshot.cut(facts)
        verdict = snapshot.ask(raw if whole else shown)
        return Decision(
            id=decision_id(),
            allow=verdict.allow,
            servable=query.model.id if query.model is not None else None,
            reasons=verdict.reasons,
            obligations=verdict.obligations,
            revision=snapshot.bundle.revision,
            digest=snapshot.bundle.digest,
            policy_version=verdict.policy_version,
            ttl_s=verdict.ttl_s,
            slice=kept,
        )

    def _compare(self, snapshot: Snapshot, query: Query, kept: Decision) -> Decision:
        """Decide again, by all that is known, although it is cached; a difference means that the cache is wrong or that
        more is read than was found, so it ends here."""
        fresh = self._evaluate(snapshot, query, whole=True)
        same = ("allow", "reasons", "obligations", "policy_version", "slice")
        if all(getattr(fresh, name) == getattr(kept, name) for name in same):
            self.stats.hits += 1
            return fresh
        self.stats.mismatches += 1
        snapshot.cache = None
        return msgspec.structs.replace(fresh, allow=False, reasons=(_MISMATCH,), obligations=())


class Snapshot:
    """One bundle ready to decide: read by reference once per decision, so no decision mixes two revisions."""

    def __init__(
        self,
        bundle: Bundle,
        engine: Interpreter,
        key: Callable[[Query], Hashable] | None,
        cache: DecisionCache | None,
        cut: Callable[[Document], slices.Cut],
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.key = key
        self.cache = cache
        self.cut = cut

    def ask(self, raw: bytes) -> Verdict:
        """The verdict on an encoded input document. An engine panic is not an ``Exception``, and it denies."""
        try:
            return read(self.engine.evaluate(raw.decode()))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # see above
            return failed(error)


def decision_id() -> str:
    """32 hex characters; unique, not secret."""
    return getrandbits(128).to_bytes(16).hex()
