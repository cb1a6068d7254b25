"""An OPA server's revision answers the canaries before its decisions count; only what it is known to read is cached."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.errors import PolicyUnavailable
from gateway.policy.bundle import Bundle
from gateway.policy.cache import DecisionCache
from gateway.policy.canaries import Canary, parse
from gateway.policy.opa_reads import Unknowable, reads_of_server
from gateway.policy.opa_vetted import MAX_TTL_S, VettedPoint
from gateway.policy.pdp import Query
from gateway.policy.reads import Reads
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.schema import Gateway
from gateway.policy.verdict import Verdict, denial
from gateway.types import Decision

MakeQuery = Callable[..., Query]
S = 1_000_000_000


class Server:
    """Stands where an OPA server's point does: decides with a bundle, under a revision that can be changed."""

    def __init__(self, bundle: Bundle) -> None:
        self.engine = EmbeddedPoint(bundle, gateway=Gateway())
        self.revision = "authz@r1"
        self.reads: Reads | None = None
        self.asked = 0
        self.closed = False

    async def decide(self, query: Query) -> Decision:
        self.asked += 1
        made = await self.engine.decide(query)
        return Decision(
            id=made.id,
            allow=made.allow,
            servable=made.servable,
            reasons=made.reasons,
            obligations=made.obligations,
            revision=self.revision,
            engine="opa",
            ttl_s=60,
        )

    async def ask(self, raw: bytes, timeout_s: float, traceparent: str = "") -> tuple[Verdict, str]:
        if self.closed:
            return denial("policy_undefined", "", "undefined"), self.revision
        return self.engine.ask(raw), self.revision


@pytest.fixture
def server(shipped: Bundle) -> Server:
    return Server(shipped)


def vetted(server: Server, canaries: tuple[Canary, ...], *, cache: DecisionCache | None = None) -> VettedPoint:
    return VettedPoint(server, canaries=lambda: canaries, cache=cache)  # type: ignore[arg-type]  # a stand-in


async def test_a_revision_that_fails_its_canaries_decides_nothing(
    server: Server, shipped: Bundle, make_query: MakeQuery
) -> None:
    point = vetted(server, parse(shipped.canaries))
    assert (await point.decide(make_query())).allow is True
    server.revision, server.closed = "authz@r2", True
    with pytest.raises(PolicyUnavailable) as refused:
        await point.decide(make_query())
    assert "expected an allow" in str(refused.value.__cause__)
    server.closed = False
    with pytest.raises(PolicyUnavailable):  # refused is refused, until something else is stated or served
        await point.decide(make_query())
    point.again()
    assert (await point.decide(make_query())).allow is True
    server.revision, server.closed = "authz@r3", False
    assert (await point.decide(make_query())).revision == "authz@r3"


@pytest.mark.parametrize("name", ["", "authz@"])
async def test_revisions_without_a_name_are_vetted_too_and_at_each_look(
    server: Server, shipped: Bundle, make_query: MakeQuery, name: str
) -> None:
    server.revision, server.closed = name, True
    point = vetted(server, parse(shipped.canaries), cache=DecisionCache())
    with pytest.raises(PolicyUnavailable):
        await point.decide(make_query())
    server.closed = False
    assert await point.probe() == name
    assert (await point.decide(make_query())).allow is True
    server.closed = True
    with pytest.raises(PolicyUnavailable):
        await point.probe()
    with pytest.raises(PolicyUnavailable):
        await point.decide(make_query())


async def test_without_knowing_what_it_reads_nothing_is_kept(
    server: Server, shipped: Bundle, make_query: MakeQuery
) -> None:
    point = vetted(server, (), cache=DecisionCache())
    for _ in range(3):
        await point.decide(make_query())
    assert (server.asked, point.stats.bypasses) == (3, 3)
    point.learn("authz@r2", shipped.reads)  # of a revision that does not serve
    await point.decide(make_query())
    assert server.asked == 4


async def test_an_allow_is_repeated_for_equal_reads_of_the_revision_in_force(
    server: Server, shipped: Bundle, make_query: MakeQuery
) -> None:
    point = vetted(server, parse(shipped.canaries), cache=DecisionCache())
    revision = await point.probe()
    point.learn(revision, shipped.reads)
    assert server.reads == shipped.reads
    assert point.decide_now(make_query()) is None
    first = await point.decide(make_query())
    again = await point.decide(make_query(request_id="other"))
    now = point.decide_now(make_query(request_id="third"))
    assert now is not None
    assert (again.cached_from, now.cached_from, again.engine, server.asked) == (first.id, first.id, "opa", 1)
    assert (await point.decide(make_query(shapes=((33, 10),)))).allow is False
    assert (await point.decide(make_query(shapes=((33, 10),)))).cached_from == ""
    late = make_query(received_ns=1_000 + MAX_TTL_S * S)  # whatever its ttl_s, which is 60
    assert (await point.decide(late)).cached_from == ""
    assert (point.stats.hits, point.stats.misses) == (2, 4)


async def test_an_answer_by_another_revision_ends_what_was_kept(
    server: Server, shipped: Bundle, make_query: MakeQuery
) -> None:
    point = vetted(server, parse(shipped.canaries), cache=DecisionCache())
    point.learn(await point.probe(), shipped.reads)
    await point.decide(make_query())
    server.revision = "authz@r2"
    other = await point.decide(make_query(shapes=((2, 10),)))  # a miss, answered by the new one
    assert (other.revision, other.cached_from) == ("authz@r2", "")
    assert (await point.decide(make_query())).cached_from == ""
    assert server.reads is None
    asked = server.asked
    assert (await point.decide(make_query(shapes=((2, 10),)))).cached_from == ""
    assert server.asked == asked + 1


def test_what_a_server_reads_is_known_only_inside_the_portable_profile(shipped: Bundle) -> None:
    assert reads_of_server(dict(shipped.modules)) == shipped.reads
    with pytest.raises(Unknowable, match="portable profile"):
        reads_of_server({**shipped.modules, "x.rego": "package gateway.authz\n\nx := time.now_ns()\n"})
