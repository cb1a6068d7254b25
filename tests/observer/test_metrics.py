"""The fold from records to metrics: its laws, and what each kind of record counts as."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger.record import Record
from gateway.observer.folds import _snapshot
from gateway.observer.metrics import Metrics, decision_of, phase_durations
from gateway.observer.openmetrics import render


def fold(records: list[Record], metrics: Metrics | None = None) -> Metrics:
    metrics = metrics or Metrics()
    for each in records:
        metrics.apply(each)
    return metrics


names = st.sampled_from(["", "a", "b", 'x"\n'])
calls = st.builds(
    Record,
    kind=st.sampled_from(["call", "call", "call", "boot", "beat"]),
    shard=st.sampled_from(["s0", "s1"]),
    seq=st.integers(0, 9),
    dur_us=st.integers(0, 10**8),
    tenant=names,
    model=names,
    model_sha=st.sampled_from(["", "ab"]),
    outcome=st.sampled_from(["answered", "denied", "expired", "refused"]),
    status=st.sampled_from(["OK", "PERMISSION_DENIED"]),
    decision_id=st.sampled_from(["", "d"]),
    rows=st.integers(0, 64),
    batch_n=st.integers(0, 64),
    ph=st.dictionaries(st.sampled_from(["authenticate", "decide", "queue", "infer"]), st.integers(0, 10**7)),
)


@settings(max_examples=60)
@given(st.lists(calls, max_size=30), st.integers(0, 30))
def test_folding_in_two_pieces_with_a_restart_between_equals_folding_at_once(records: list[Record], cut: int) -> None:
    once = fold(records)
    first = fold(records[:cut])
    second = Metrics()
    second.load(_snapshot.decode(msgspec.json.encode(first.dump())))
    fold(records[cut:], second)
    assert render(second.families()) == render(once.families())


@given(st.lists(calls, max_size=30))
def test_requests_equal_the_calls_in_the_ledger(records: list[Record]) -> None:
    metrics = fold(records)
    expected = sum(each.kind == "call" for each in records)
    assert sum(metrics.requests.cells.values()) == expected
    assert sum(sum(cell[:-1]) for cell in metrics.calls.cells.values()) == expected
    assert sum(metrics.records.cells.values()) == len(records)


def test_an_answered_call_counts_in_every_family(record) -> None:
    metrics = fold([record()])
    assert metrics.requests.cells == {("credit", "3", "acme", "allow", "OK"): 1}
    assert metrics.rows.cells == {("credit", "3", "acme"): 2}
    assert metrics.decisions.cells == {("none", "allow", "enforced", "r7"): 1}
    assert metrics.inference.cells[("credit", "3")][-1] == 900
    assert metrics.queue.cells[("credit", "3")][-1] == 50
    assert metrics.eval.cells[("embedded", "false")][-1] == 100
    assert metrics.batches.cells[("credit", "3")][1] == 1


def test_a_denial_counts_by_rule_and_uses_no_rows(record, denied) -> None:
    metrics = fold([record(**denied)])
    assert metrics.requests.cells == {("credit", "3", "acme", "deny", "PERMISSION_DENIED"): 1}
    assert metrics.decisions.cells == {("tenant_not_allowed", "deny", "enforced", "r7"): 1}
    assert metrics.rows.cells == {}
    assert metrics.inference.cells == {}


def test_a_model_name_that_resolved_to_nothing_mints_no_series(record) -> None:
    metrics = fold([record(n, model=f"made-up-{n}", model_sha="", version="") for n in range(50)])
    assert set(metrics.requests.cells) == {("_OTHER", "_OTHER", "acme", "allow", "OK")}


def test_tenants_beyond_the_bound_are_other_and_stay_so_over_a_restart(record) -> None:
    metrics = fold([record(n, tenant=f"t{n}") for n in range(10)], Metrics(max_tenants=3))
    tenants = {key[2]: value for key, value in metrics.requests.cells.items()}
    assert tenants == {"t0": 1, "t1": 1, "t2": 1, "_OTHER": 7}
    again = Metrics(max_tenants=3)
    again.load(metrics.dump())
    fold([record(99, tenant="t9")], again)
    assert again.requests.cells["credit", "3", "_OTHER", "allow", "OK"] == 8


def test_only_listed_tenants_have_a_series_when_there_is_a_list(record) -> None:
    metrics = fold([record(tenant="acme"), record(tenant="evil")], Metrics(tenants=("acme",)))
    assert {key[2] for key in metrics.requests.cells} == {"acme", "_OTHER"}


def test_a_label_of_ten_kilobytes_becomes_other(record) -> None:
    metrics = fold([record(tenant="x" * 10_240)])
    assert {key[2] for key in metrics.requests.cells} == {"_OTHER"}


def test_a_phase_never_has_a_negative_duration() -> None:
    record = Record(shard="s", seq=0, ph={"authenticate": 100, "decide": 40, "infer": 90, "record": 120})
    assert dict(phase_durations(record)) == {"authenticate": 100, "decide": 0, "infer": 0, "record": 20}


def test_an_exemplar_marks_the_bucket_of_its_call(record) -> None:
    metrics = fold([record()])
    metrics.exemplify(record())
    assert b'# {trace_id="00000000000000000000000000000001"} 0.0012' in render([metrics.calls])


def test_a_snapshot_with_other_buckets_starts_that_family_anew(record) -> None:
    metrics = fold([record()])
    state = dict(metrics.dump())
    state["gateway_stage_seconds"] = [(("infer",), [1, 2, 3])]
    again = Metrics()
    again.load(state)
    assert again.stages.cells == {}
    assert again.requests.cells == metrics.requests.cells


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, "allow"), ({"allow": False}, "deny"), ({"decision_id": "", "allow": False}, "none")],
)
def test_decision_of(record, changes: dict[str, object], expected: str) -> None:
    assert decision_of(record(**changes)) == expected
