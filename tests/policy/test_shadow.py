"""The shadow's engine: another process decides again, whatever the candidate does to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.policy.bundle import Bundle
from gateway.policy.files import Files
from gateway.policy.obligations import kind
from gateway.policy.pdp import Query
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.revisions import Revisions
from gateway.policy.schema import Gateway
from gateway.policy.shadow import Case, Judgement, ShadowEngine
from gateway.policy.shadow_report import MAX_GROUPS, ShadowReport, read_report
from gateway.types import Decision

MakeQuery = Callable[..., Query]
RECURSES = """package gateway.authz

decision := {"v": 1, "allow": deep(input.tensors.batch), "reasons": [], "obligations": []}

deep(n) := deep(n) if n > 8
deep(n) := true if n <= 8
"""


@pytest.fixture
def point(shipped: Bundle) -> EmbeddedPoint:
    return EmbeddedPoint(shipped, gateway=Gateway())


@pytest.fixture
def engine_of() -> Iterator[Callable[[Bundle], ShadowEngine]]:
    made: list[ShadowEngine] = []

    def make(bundle: Bundle) -> ShadowEngine:
        made.append(ShadowEngine(bundle, deadline_s=20))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def changed(shipped: Bundle, old: str, new: str) -> Bundle:
    assert old in shipped.data
    files = Files(modules=dict(shipped.modules), data=msgspec.json.decode(shipped.data.replace(old, new)))
    return Bundle.linted(files)


def case_of(decision: Decision) -> Case:
    types = tuple(kind(obligation) for obligation in decision.obligations)
    return Case(input=decision.slice.decode(), allow=decision.allow, codes=decision.codes, types=types)


async def test_what_would_change_is_found_in_order(
    point: EmbeddedPoint, shipped: Bundle, make_query: MakeQuery, engine_of: Callable[[Bundle], ShadowEngine]
) -> None:
    stricter = engine_of(changed(shipped, '"max_batch":32', '"max_batch":4'))
    queries = [make_query(), make_query(shapes=((2, 10),)), make_query(shapes=((33, 10),)), make_query(tenant="guest")]
    cases = [case_of(await point.decide(query)) for query in queries]
    same = Judgement()
    assert stricter.judge(cases) == [Judgement(kind="allow_to_deny", checks=("batch",)), same, same, same]
    assert stricter.judge([]) == []
    wider = engine_of(changed(shipped, '"max_batch":32', '"max_batch":64'))
    assert wider.judge(cases) == [same, same, Judgement(kind="deny_to_allow", checks=("batch",)), same]


async def test_an_obligation_that_comes_is_a_change(
    point: EmbeddedPoint, shipped: Bundle, make_query: MakeQuery, engine_of: Callable[[Bundle], ShadowEngine]
) -> None:
    limited = shipped.data.replace('"limits":"none"', '"limits":{"max_batch":32,"max_inputs":1}')
    candidate = Bundle.linted(Files(modules=dict(shipped.modules), data=msgspec.json.decode(limited)))
    (judged,) = engine_of(candidate).judge([case_of(await point.decide(make_query()))])
    assert judged == Judgement(kind="obligations", checks=("limit",))


async def test_another_value_of_the_same_obligation_is_a_change_where_the_revision_is_kept(
    shipped: Bundle, make_query: MakeQuery, tmp_path: Path
) -> None:
    kept = Revisions(tmp_path, clock_us=lambda: 1)
    kept.save(shipped)
    slower = changed(shipped, '"burst":100,"rps":50', '"burst":100,"rps":5')
    query = make_query(tenant="guest", model="digits", shapes=((8, 64),))
    decision = await EmbeddedPoint(shipped, gateway=Gateway()).decide(query)
    assert decision.allow is True
    case = msgspec.structs.replace(case_of(decision), digest=decision.digest)
    unknown = msgspec.structs.replace(case, digest="0" * 64)
    engines = [ShadowEngine(slower, revisions=kept.folder), ShadowEngine(shipped, revisions=kept.folder)]
    try:
        found = [engine.judge([case, unknown]) for engine in engines]
    finally:
        for engine in engines:
            engine.close()
    assert found[0] == [Judgement(kind="obligations", checks=("rate_limit",)), Judgement()]
    assert found[1] == [Judgement(), Judgement()]


async def test_what_the_candidate_reads_and_nobody_kept_is_not_guessed(
    point: EmbeddedPoint, shipped: Bundle, make_query: MakeQuery, engine_of: Callable[[Bundle], ShadowEngine]
) -> None:
    reads_more = Files(
        modules={
            **shipped.modules,
            "gateway/authz/more.rego": 'package gateway.authz\n\nx if input.model.owner == "ann"\n',
        },
        data=msgspec.json.decode(shipped.data),
    )
    (judged,) = engine_of(Bundle.linted(reads_more)).judge([case_of(await point.decide(make_query()))])
    assert judged.skipped == "candidate reads model.owner, which the record lacks"


async def test_a_case_that_kills_the_candidate_is_its_error_and_no_others(
    point: EmbeddedPoint, make_query: MakeQuery, engine_of: Callable[[Bundle], ShadowEngine]
) -> None:
    reads = frozenset({("tensors", "batch")})
    engine = engine_of(Bundle(modules={"p.rego": RECURSES}, data="{}", digest="0" * 64, reads=reads))
    shapes = [((2, 10),), ((9, 10),), ((8, 10),)]
    cases = [case_of(await point.decide(make_query(shapes=shape))) for shape in shapes]
    judged = engine.judge(cases)
    assert judged[1].kind == "error"
    assert [judgement.kind for judgement in (judged[0], judged[2])] == ["", ""]


def test_a_candidate_that_cannot_be_parsed_is_an_error_for_every_case() -> None:
    engine = ShadowEngine(Bundle(modules={"p.rego": "package x\n\ny if {"}, data="{}", digest="0" * 64), deadline_s=20)
    case = Case(input="{}", allow=True, codes=(), types=())
    try:
        assert [judged.checks for judged in engine.judge([case, case])] == [("engine_died",)] * 2
    finally:
        engine.close()


def test_a_report_puts_coverage_first_and_survives_a_restart(tmp_path: Path) -> None:
    report = ShadowReport(revision="r", digest="d")
    report.skip("input not recorded")
    report.take(Judgement(skipped="candidate reads x"), tenant="t", model="m", decision_id="1")
    report.take(Judgement(), tenant="t", model="m", decision_id="2")
    for n in (3, 4):
        report.take(Judgement(kind="deny_to_allow", checks=("batch",)), tenant="t", model="m", decision_id=str(n))
    assert (report.seen, report.compared, report.coverage) == (5, 3, 0.6)
    assert report.seen == report.compared + sum(report.skipped.values())
    report.write(tmp_path)
    again = read_report(tmp_path)
    assert again == report
    (group,) = again.groups
    assert (group.kind, group.check, group.tenant, group.model, group.count, group.example) == (
        *("deny_to_allow", "batch", "t", "m"),
        *(2, "3"),
    )
    (tmp_path / "shadow.json").write_text("{")
    assert read_report(tmp_path) is None


def test_groups_are_bounded_and_changes_counted_all_the_same() -> None:
    report = ShadowReport()
    for n in range(MAX_GROUPS + 5):
        report.take(Judgement(kind="reasons", checks=("x",)), tenant=str(n), model="m", decision_id=str(n))
    assert len(report.groups) == MAX_GROUPS
    assert report.changes == {"reasons": MAX_GROUPS + 5}
