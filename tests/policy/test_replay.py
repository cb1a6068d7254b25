from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.ledger.record import Record
from gateway.policy.bundle import Bundle
from gateway.policy.explain import explain
from gateway.policy.files import Files
from gateway.policy.incumbents import Incumbents
from gateway.policy.obligations import kind
from gateway.policy.pdp import Query
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.replay import replay
from gateway.policy.revisions import Revisions
from gateway.policy.samples import sample
from gateway.policy.schema import Gateway
from gateway.types import Decision

MakeQuery = Callable[..., Query]


def record(decision: Decision, query: Query, seq: int = 0) -> tuple[Record, bytes]:
    model = query.model.id.name if query.model is not None else ""
    made = Record(
        kind="call", shard="gw.0", seq=seq, tenant=query.principal.tenant, action="inference:infer", model=model,
        allow=decision.allow, decision_id=decision.id, reasons=decision.codes, policy_sha=decision.digest,
        obligations=tuple(kind(obligation) for obligation in decision.obligations),
    )  # fmt: skip
    return made, decision.slice


def recorded(bundle: Bundle, queries: list[Query]) -> Iterator[tuple[Record, bytes]]:
    point = EmbeddedPoint(bundle, gateway=Gateway())
    for seq, query in enumerate(queries):
        with pytest.raises(StopIteration) as done:
            point.decide(query).send(None)
        yield record(done.value.value, query, seq)


def changed(shipped: Bundle, old: str, new: str, file: str = "") -> Bundle:
    modules, data = dict(shipped.modules), shipped.data
    if file:
        assert old in modules[file]
        modules[file] = modules[file].replace(old, new)
    else:
        assert old in data
        data = data.replace(old, new)
    return Bundle.linted(Files(modules=modules, data=msgspec.json.decode(data)))


@pytest.fixture
def queries(make_query: MakeQuery) -> list[Query]:
    return [
        make_query(),
        make_query(shapes=((33, 10),)),
        make_query(model="breast-cancer"),
        make_query(tenant="guest", model="digits"),
        make_query(tenant="nobody"),
        make_query(peer="8.8.8.8"),
    ]


def test_a_run_replays_to_no_difference_on_its_own_revision(shipped: Bundle, queries: list[Query]) -> None:
    report = replay(recorded(shipped, queries), shipped)
    assert (report.records, report.replayed, report.changed, dict(report.skipped)) == (6, 6, [], {})
    assert report.tenants == {"clinic": 4, "guest": 1, "nobody": 1}
    assert report.lines_run > 20


TIGHTER = [
    ("allow_to_deny", "batch", "clinic", "breast-cancer", 1),
    ("allow_to_deny", "batch", "clinic", "diabetes", 1),
    ("reasons", "batch", "clinic", "diabetes", 1),
]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"max_batch":32', '"max_batch":4', TIGHTER),
        ('"max_batch":32', '"max_batch":99', [("deny_to_allow", "batch", "clinic", "diabetes", 1)]),
        ('{"max_batch":8,"max_inputs":1}', '"none"', [("obligations", "limit", "guest", "digits", 1)]),
    ],
)
def test_a_seeded_change_is_found_and_grouped(
    shipped: Bundle, queries: list[Query], old: str, new: str, expected: list[tuple[object, ...]]
) -> None:
    report = replay(recorded(shipped, queries), changed(shipped, old, new))
    assert sorted(group[:5] for group in report.groups()) == expected


def test_values_of_obligations_are_compared_where_the_revision_is_kept(
    shipped: Bundle, queries: list[Query], tmp_path: Path
) -> None:
    slower = changed(shipped, '"burst":100,"rps":50', '"burst":100,"rps":5')
    records = list(recorded(shipped, queries))
    revisions = Revisions(tmp_path, clock_us=lambda: 1)
    assert replay(records, slower, Incumbents(revisions.folder).obligations).changed == []  # only types are known
    revisions.save(shipped)
    found = replay(records, slower, Incumbents(revisions.folder).obligations)
    assert [group[:5] for group in found.groups()] == [("obligations", "rate_limit", "guest", "digits", 1)]
    assert replay(records, shipped, Incumbents(revisions.folder).obligations).changed == []
    (revisions.folder / shipped.digest / "data.json").write_text(slower.data)  # not what its name says
    assert replay(records, slower, Incumbents(revisions.folder).obligations).changed == []


def test_what_cannot_be_replayed_is_counted_by_cause_and_never_guessed(shipped: Bundle, queries: list[Query]) -> None:
    records = list(recorded(shipped, queries))
    lost: list[tuple[Record, bytes | str]] = [(records[0][0], "input erased"), (records[1][0], b"\xff"), *records[2:]]
    candidate = changed(
        shipped,
        "count(missing) == 0",
        'count(missing) == 0\n\tinput.subject.auth == "mtls"',
        "gateway/authz/decision.rego",
    )
    report = replay(lost, candidate)
    assert report.replayed == 0
    assert dict(report.skipped) == {
        "input erased": 1,
        "input not readable": 1,
        "candidate reads subject.auth, which the record lacks": 4,
    }


def test_records_without_a_decision_are_no_part_of_it(shipped: Bundle) -> None:
    assert replay([(Record(kind="call", shard="gw.0", seq=0), b"")], shipped).records == 0


@pytest.mark.slow
def test_a_hundred_thousand_decisions_in_half_a_minute(shipped: Bundle, make_query: MakeQuery) -> None:
    batches = [
        make_query(who=f"app-{n % 997}", shapes=((n % 60, 10),), tenant=("clinic", "guest", "research")[n % 3])
        for n in range(3000)
    ]
    some = list(recorded(shipped, batches))
    records = [(msgspec.structs.replace(some[n % 3000][0], seq=n), some[n % 3000][1]) for n in range(100_000)]
    begun = time.monotonic()
    report = replay(records, shipped)
    assert time.monotonic() - begun < 30
    assert (report.replayed, report.changed) == (100_000, [])


def test_an_explanation_names_checks_values_and_lines(shipped: Bundle) -> None:
    document = sample()
    document["subject"]["tenant"] = "clinic"  # type: ignore[index]  # a section is a dict
    document["model"]["name"] = "diabetes"  # type: ignore[index]  # a section is a dict
    found = explain(shipped, document)
    assert found.verdict.allow is False
    assert found.missing == ("network",)
    assert set(found.required or ()) == {*(found.missing or ()), *(found.proven or ())}
    assert found.values["input.request.peer_ip"] == "192.0.2.1"
    assert found.lines["gateway/authz/decision.rego"]
