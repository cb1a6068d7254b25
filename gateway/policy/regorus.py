"""The embedded decision point: decides in process, in about 100 microseconds, or 2 when it has decided so before."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from typing import Literal

import msgspec

from gateway.errors import Internal
from gateway.policy import schema, slices
from gateway.policy.bundle import Bundle
from gateway.policy.cache import CacheStats, DecisionCache
from gateway.policy.input import PARAMS, document, encode
from gateway.policy.interpreter import Interpreter
from gateway.policy.keys import compile_key
from gateway.policy.pdp import Query
from gateway.policy.schema import Gateway
from gateway.policy.verdict import Verdict, failed, read
from gateway.types import Decision, Reason

_MISMATCH = Reason("cache_mismatch", "deny", "a cached decision differs from a fresh one; the cache is off")


class EmbeddedPoint:
    """Decides with one bundle, for the thread that made it. ``decide`` never suspends.

    ``record_input`` tells what ``Decision.slice`` holds: the values that the policy reads, or the full document.
    ``verify`` is the share of cache hits that are decided again and compared; one mismatch denies and turns the
    cache off.
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
        self.bundle = bundle
        self.stats = CacheStats()
        self._engine = Interpreter(bundle.modules, bundle.data)
        self._gateway = gateway
        self._cache = cache
        self._params = params
        self._reads = bundle.reads if record_input == "slice" else None
        self._verify = verify
        self._key: Callable[[Query], Hashable] | None = None
        if cache is not None and bundle.reads is not None and record_input == "slice":
            self._key = compile_key(bundle.reads, params)

    @property
    def revision(self) -> str:
        """Names the bundle in force."""
        return self.bundle.revision

    async def decide(self, query: Query) -> Decision:
        """The policy's decision. Everything but a complete allow is a denial.

        Raises: Internal when the input document breaks its own schema; then no engine was asked.
        """
        return self.decide_now(query)

    def decide_now(self, query: Query) -> Decision:
        """``decide`` without a coroutine."""
        cache = self._cache
        if self._key is None or cache is None:
            self.stats.bypasses += 1
            return self._evaluate(query)
        key = self._key(query)
        kept = cache.get(key, query.context.received_ns)
        if kept is None:
            self.stats.misses += 1
            decision = self._evaluate(query)
            cache.put(key, decision, query.context.received_ns)
            return decision
        if self._verify and random.random() < self._verify:  # noqa: S311  # sampling, not a secret
            return self._compare(query, kept)
        self.stats.hits += 1
        return Decision(
            id=decision_id(),
            allow=True,
            servable=query.model.id if query.model is not None else None,
            reasons=kept.reasons,
            obligations=kept.obligations,
            revision=kept.revision,
            digest=kept.digest,
            policy_version=kept.policy_version,
            cached_from=kept.id,
            ttl_s=kept.ttl_s,
            slice=kept.slice,
        )

    def ask(self, raw: bytes) -> Verdict:
        """The verdict on an encoded input document, whatever the engine does."""
        try:
            return read(self._engine.evaluate(raw.decode()))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # an engine panic is not an Exception, and it denies
            return failed(error)

    def _evaluate(self, query: Query) -> Decision:
        facts = document(query, self._gateway, self._params)
        try:
            raw = encode(facts)
            schema.check(raw)
        except (msgspec.ValidationError, TypeError) as error:
            raise Internal(query.context.call_id) from error
        verdict = self.ask(raw)
        return Decision(
            id=decision_id(),
            allow=verdict.allow,
            servable=query.model.id if query.model is not None else None,
            reasons=verdict.reasons,
            obligations=verdict.obligations,
            revision=self.bundle.revision,
            digest=self.bundle.digest,
            policy_version=verdict.policy_version,
            ttl_s=verdict.ttl_s,
            slice=slices.cut(facts, self._reads),
        )

    def _compare(self, query: Query, kept: Decision) -> Decision:
        """Decide again although it is cached; a difference means the cache is wrong, so it ends here."""
        fresh = self._evaluate(query)
        same = ("allow", "reasons", "obligations", "policy_version", "slice")
        if all(getattr(fresh, name) == getattr(kept, name) for name in same):
            self.stats.hits += 1
            return fresh
        self.stats.mismatches += 1
        self._cache = None
        return msgspec.structs.replace(fresh, allow=False, reasons=(_MISMATCH,), obligations=())


def decision_id() -> str:
    """32 hex characters; unique, not secret."""
    return f"{random.getrandbits(128):032x}"  # a name, not a secret
