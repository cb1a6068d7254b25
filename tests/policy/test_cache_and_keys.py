"""The exact cache: a hit equals a fresh decision, always; it keeps allows alone, for one snapshot."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy import slices
from gateway.policy.bundle import Bundle
from gateway.policy.cache import DecisionCache
from gateway.policy.files import Files
from gateway.policy.input import PARAMS, document
from gateway.policy.keys import compile_key
from gateway.policy.pdp import Query, RepositoryFacts, SettingsFacts
from gateway.policy.reads import Reads
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.schema import Gateway
from gateway.types import Decision, ServableId

MakeQuery = Callable[..., Query]

PATHS = [
    "subject.id",
    "subject.tenant",
    "subject.groups",
    "subject.claims",
    "subject.claims.role",
    "subject.claims.deep.er",
    "action.name",
    "model.name",
    "model.labels.tier",
    "model.labels",
    "model",
    "request.peer_ip",
    "request.peer_kind",
    "request.time.hour_utc",
    "request.time.weekday",
    "request.time.date",
    "request.metadata.a",
    "request.params.priority",
    "request.priority",
    "request.deadline_ms",
    "tensors.batch",
    "tensors.total_bytes",
    "tensors.inputs",
    "tensors.count",
    "tensors.outputs",
    "tensors",
    "repository.model",
    "settings.writes.x",
    "settings",
    "subject",
    "gateway.env",
]


@st.composite
def queries(draw: st.DrawFn, make: MakeQuery) -> Query:
    pick = lambda *values: draw(st.sampled_from(values))  # noqa: E731  # twenty uses
    query = make(
        who=pick("a", "b", ""),
        tenant=pick("clinic", "research", "guest"),
        groups=pick((), ("clinicians",), ("x", "y")),
        claims=pick({}, {"role": None}, {"role": "r"}, {"role": 1}, {"role": True}, {"role": 1.0}, {"deep": {"er": 1}}),
        name=pick("infer", "stream_open"),
        model=pick("diabetes", "breast-cancer", "digits", None),
        batching=pick(True, False),
        shapes=pick(((1, 2),), ((33, 2),), ((2, 2), (3, 3)), (), ((2, 2), (2, 3))),
        peer=pick("10.1.2.3", "", "8.8.8.8"),
        received_us=pick(1_795_000_000_000_000, 1_795_003_600_000_000, 1_795_300_000_000_000),
        deadline_ns=pick(None, 5_000_000, 900_000_000),
        metadata=pick({}, {"a": ""}, {"a": "1"}),
        params=pick({}, {"priority": 1}, {"priority": True}, {"priority": "1"}),
        labels=pick({}, {"tier": "gold"}, {"tier": ""}),
    )
    return msgspec.structs.replace(
        query,
        repository=pick(None, RepositoryFacts(), RepositoryFacts(model="m")),
        settings=pick(None, SettingsFacts(scope="model"), SettingsFacts(scope="model", writes={"x": "1"})),
    )


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_equal_keys_mean_equal_values_at_every_read_path(make_query: MakeQuery, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.sampled_from(PATHS), min_size=1, max_size=4))
    paths = [tuple(path.split(".")) for path in sorted(chosen)]
    reads = frozenset(p for p in paths if not any(q != p and p[: len(q)] == q for q in paths))
    key = compile_key(reads, PARAMS)
    assert key is not None
    one, other = data.draw(queries(make_query)), data.draw(queries(make_query))
    same_slice = slices.cut(document(one, Gateway()), reads) == slices.cut(document(other, Gateway()), reads)
    if key(one) == key(other):
        assert same_slice
    assert slices.cutter(reads)(document(one, Gateway())) == slices.cut(document(one, Gateway()), reads)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_cached_equals_uncached_on_the_shipped_policies(
    make_query: MakeQuery, shipped: Bundle, data: st.DataObject
) -> None:
    cached = EmbeddedPoint(shipped, gateway=Gateway(), cache=DecisionCache())
    plain = EmbeddedPoint(shipped, gateway=Gateway(), record_input="full")
    for query in data.draw(st.lists(queries(make_query), min_size=2, max_size=8)):
        for _ in range(2):
            assert essence(run(cached, query), shipped.reads) == essence(run(plain, query), shipped.reads)


def test_cached_equals_uncached_on_random_policies(make_query: MakeQuery) -> None:
    chance = random.Random(11)
    for _ in range(25):
        tests = [f"proven contains {n} if input.{chance.choice(PATHS)} == {chance.choice(VALUES)}" for n in range(4)]
        source = "\n\n".join([HEAD, *tests, f"allow if count(proven) <= {chance.randint(0, 2)}"])
        bundle = Bundle.linted(Files(modules={"a.rego": source}))
        cached = EmbeddedPoint(bundle, gateway=Gateway(), cache=DecisionCache())
        plain = EmbeddedPoint(bundle, gateway=Gateway(), record_input="full")
        for _ in range(60):
            query = make_query(
                who=chance.choice("ab"),
                claims=chance.choice([{}, {"role": None}, {"role": 1}, {"role": True}, {"deep": {"er": 1}}]),
                metadata=chance.choice([{}, {"a": "a"}]),
                labels=chance.choice([{}, {"tier": "a"}]),
                model=chance.choice(["diabetes", None]),
                shapes=chance.choice([((1, 2),), ((2, 2),)]),
            )
            assert essence(run(cached, query), bundle.reads) == essence(run(plain, query), bundle.reads)


VALUES = ("1", "true", "null", '"a"', "[]", "{}")
HEAD = """package gateway.authz

default decision := {"v": 1, "allow": false, "reasons": [], "obligations": []}

decision := {"v": 1, "allow": allow, "reasons": [], "obligations": []}

default allow := false

proven contains "always"
"""


def run(point: EmbeddedPoint, query: Query) -> Decision:
    """``decide`` never suspends, so one step ends it."""
    with pytest.raises(StopIteration) as done:
        point.decide(query).send(None)
    assert isinstance(done.value.value, Decision)
    return done.value.value


def essence(decision: Decision, reads: Reads | None) -> tuple[object, ...]:
    """What two decisions share when one was made by the whole document and the other by what ``reads`` names of it."""
    reasons, obligations = sorted(map(repr, decision.reasons)), sorted(map(repr, decision.obligations))
    read = slices.cut(msgspec.json.decode(decision.slice), reads).shown  # of a slice, that is itself without marks
    return decision.allow, decision.servable, reasons, obligations, read, decision.policy_version


@pytest.fixture
def point(shipped: Bundle) -> EmbeddedPoint:
    return EmbeddedPoint(shipped, gateway=Gateway(), cache=DecisionCache())


def test_a_hit_has_its_own_id_names_its_source_and_its_own_servable(
    point: EmbeddedPoint, make_query: MakeQuery
) -> None:
    first, second = run(point, make_query()), run(point, make_query())
    assert first.cached_from == ""
    assert second.cached_from == first.id != second.id
    newer = msgspec.structs.replace(make_query(), model=msgspec.structs.replace(make_query().model, id=OTHER))
    assert run(point, newer).servable == OTHER
    assert (point.stats.hits, point.stats.misses) == (2, 1)


OTHER = ServableId("diabetes", "2", "sha256:11")


def test_what_was_not_found_to_be_read_is_not_there(shipped: Bundle, make_query: MakeQuery) -> None:
    """The engine sees what the record keeps, and nothing else."""
    assert shipped.reads is not None
    less = dataclasses.replace(shipped, reads=shipped.reads - {("model", "name")})
    decision = run(EmbeddedPoint(less, gateway=Gateway(), cache=DecisionCache()), make_query())
    assert (decision.allow, set(decision.codes)) == (False, {"model", "sensitive", "provenance"})


def test_verification_decides_by_the_whole_document(make_query: MakeQuery) -> None:
    """A path that was overlooked changes no decision unseen: the next hit that is verified ends the cache."""
    rules = "default urgent := false\n\nurgent if input.request.priority == 1\n\nallow if not urgent"
    source = f"{HEAD}\n\n{rules}"
    bundle = dataclasses.replace(Bundle.linted(Files(modules={"a.rego": source})), reads=frozenset({("model", "name")}))
    point = EmbeddedPoint(bundle, gateway=Gateway(), cache=DecisionCache(), verify=1.0)
    query = make_query(params={"priority": 1})
    assert run(point, query).allow is True
    assert run(point, query).codes == ("cache_mismatch",)


def test_denials_are_decided_afresh(point: EmbeddedPoint, make_query: MakeQuery) -> None:
    for _ in range(3):
        assert run(point, make_query(tenant="nobody")).cached_from == ""
    assert point.stats.hits == 0


def test_an_allow_is_kept_for_its_time(point: EmbeddedPoint, make_query: MakeQuery) -> None:
    first = run(point, make_query(received_ns=0))
    assert run(point, make_query(received_ns=4_999_999_999)).cached_from == first.id
    assert run(point, make_query(received_ns=5_000_000_000)).cached_from == ""


def test_a_swap_drops_the_cache(point: EmbeddedPoint, make_query: MakeQuery, shipped: Bundle) -> None:
    run(point, make_query())
    point.swap(shipped)
    assert run(point, make_query()).cached_from == ""


def test_entries_and_bytes_are_bounded() -> None:
    cache = DecisionCache(max_entries=3, max_bytes=3 * 700)
    for n in range(10):
        cache.put(n, Decision(id=str(n), allow=True, servable=None, slice=b"x" * 100), 0)
    assert len(cache) == 3
    assert [n for n in range(10) if cache.get(n, 1)] == [7, 8, 9]
    cache.put("big", Decision(id="b", allow=True, servable=None, slice=b"x" * 9000), 0)
    cache.put("never", Decision(id="n", allow=True, servable=None, ttl_s=0), 0)
    assert len(cache) == 3


@pytest.mark.parametrize("path", ["request.time.unix_s", "request.id", "action.stream_seq"])
def test_what_is_new_with_every_call_makes_no_key(path: str) -> None:
    assert compile_key(frozenset({tuple(path.split("."))}), PARAMS) is None


def test_a_mismatch_denies_and_ends_the_cache(shipped: Bundle, make_query: MakeQuery) -> None:
    point = EmbeddedPoint(shipped, gateway=Gateway(), cache=DecisionCache(), verify=1.0)
    query = make_query()
    first = run(point, query)
    assert run(point, query).allow is True
    snapshot = point._snapshot
    assert snapshot.cache is not None
    assert snapshot.key is not None
    snapshot.cache.put(snapshot.key(query), msgspec.structs.replace(first, policy_version="forged"), 1_000)
    wrong = run(point, query)
    assert (wrong.allow, wrong.codes, point.stats.mismatches) == (False, ("cache_mismatch",), 1)
    assert snapshot.cache is None
