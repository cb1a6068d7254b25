"""What an OPA server must show before its answers count, and an exact cache over it.

The server chooses its own bundles, so each revision that it answers with is held against the canaries before the first
decision by it counts. The cache needs to know what the policy reads; that is known for one revision at a time, and an
answer by any other empties it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

import msgspec

from gateway.errors import PolicyUnavailable
from gateway.policy.cache import CacheStats, DecisionCache, repeated
from gateway.policy.canaries import Canary, mismatch
from gateway.policy.input import PARAMS, encode
from gateway.policy.keys import compile_key
from gateway.policy.opa import OpaPoint
from gateway.policy.pdp import Query
from gateway.policy.reads import Reads
from gateway.policy.samples import sample
from gateway.types import Decision

MAX_TTL_S = 5
"""A server may have taken another revision meanwhile: a kept allow is believed at most this long."""
CANARY_S = 2.0


class VettedPoint:
    """The server's decisions, by revisions that answer ``canaries`` as written. For one event loop.

    ``cache`` gives the bounds of the exact cache, None turns it off; it serves while ``learn`` has told what the
    revision in force reads.
    """

    def __init__(
        self,
        point: OpaPoint,
        *,
        canaries: Callable[[], tuple[Canary, ...]],
        cache: DecisionCache | None = None,
        params: frozenset[str] = PARAMS,
    ) -> None:
        self.stats = CacheStats()
        self._point = point
        self._canaries = canaries
        self._empty = cache
        self._params = params
        self._vetted: str | None = None
        self._vetting = asyncio.Lock()
        self._refused: dict[str, str] = {}
        self._key: Callable[[Query], Hashable] | None = None
        self._cache: DecisionCache | None = None

    @property
    def revision(self) -> str:
        """The revision of the last decision, "" before the first."""
        return self._point.revision

    def decide_now(self, query: Query) -> Decision | None:
        """A kept decision; None when there is none."""
        cache, key_of = self._cache, self._key
        kept = None
        if cache is not None and key_of is not None:
            kept = cache.get(key_of(query), query.context.received_ns)
        if kept is None:
            return None
        self.stats.hits += 1
        return repeated(kept, query)

    async def decide(self, query: Query) -> Decision:
        """A kept decision, or the server's. Raises: PolicyUnavailable for a revision that fails the canaries too."""
        kept = self.decide_now(query)
        if kept is not None:
            return kept
        cache, key_of = self._cache, self._key
        if cache is None or key_of is None:
            self.stats.bypasses += 1
            return await self._ask(query)
        key = key_of(query)
        self.stats.misses += 1
        decision = await self._ask(query)
        if cache is self._cache:  # the revision that answered is the one whose reads made the key
            ttl_s = min(decision.ttl_s, MAX_TTL_S)
            cache.put(key, msgspec.structs.replace(decision, ttl_s=ttl_s), query.context.received_ns)
        return decision

    def learn(self, revision: str, reads: Reads | None) -> None:
        """``revision`` reads ``reads``; None when that cannot be told. The cache begins anew."""
        self.forget()
        if self._empty is not None and reads is not None and revision == self._vetted:
            self._key = compile_key(reads, self._params)
            self._cache = self._empty.fresh() if self._key is not None else None
            self._point.reads = reads

    def again(self) -> None:
        """Hold the revision in force against the canaries anew: others are stated now."""
        self.forget()
        self._vetted, self._refused = None, {}

    async def probe(self) -> str:
        """The revision that answers now, held against the canaries. Raises: PolicyUnavailable.

        Bundles without a name for their revision cannot be told apart: they are held against the canaries each time.
        """
        _, revision = await self._point.ask(encode(sample()), CANARY_S)
        if any(not bundle.rpartition("@")[2] for bundle in revision.split(",")):
            self.again()
        await self.vet(revision)
        return revision

    def forget(self) -> None:
        """Serve nothing kept until ``learn``."""
        self._cache = self._key = None
        self._point.reads = None

    async def vet(self, revision: str) -> None:
        """Hold ``revision`` against the canaries, once. Raises: PolicyUnavailable naming those that it fails."""
        async with self._vetting:
            if revision == self._vetted:
                return
            if revision not in self._refused:
                self._refused = {revision: await self._failed(revision)}
            if self._refused[revision]:
                raise PolicyUnavailable("the policy engine's revision answers its canaries wrongly") from ValueError(
                    self._refused[revision]
                )
            self.forget()
            self._vetted = revision

    async def _ask(self, query: Query) -> Decision:
        decision = await self._point.decide(query)
        if decision.revision != self._vetted and (decision.allow or decision.revision):
            await self.vet(decision.revision)
        return decision

    async def _failed(self, revision: str) -> str:
        """Which canaries ``revision`` answers otherwise, and how; "" for none. Raises: PolicyUnavailable."""
        wrong = []
        for canary in self._canaries():
            verdict, answered = await self._point.ask(encode(canary.document()), CANARY_S)
            if answered not in ("", revision):
                raise PolicyUnavailable("the policy engine changed its revision while it was held against the canaries")
            if said := mismatch(canary, verdict):
                wrong.append(f"{canary.name}: {said}")
        return "; ".join(wrong)
