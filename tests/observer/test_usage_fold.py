"""Usage: each call in exactly one row, compute shared by rows, hours of the wall clock."""

from __future__ import annotations

import pytest

from gateway.observer.usage import HOUR_US, Key, Sums, Usage, compute_us


def test_answers_denials_and_failures_of_one_principal(record, denied) -> None:
    usage = Usage()
    for each in (
        record(0),
        record(1, **denied),
        record(2, outcome="failed", status="INTERNAL"),
        record(3, kind="beat"),
    ):
        usage.apply(each)
    start = record(0).t_us
    key = Key(start - start % HOUR_US, "acme", "acme/app", "credit", "3")
    assert usage.rows == {
        key: Sums(requests=3, answered=1, denied=1, failed=1, rows=2, in_bytes=128, out_bytes=32, compute_us=900)
    }
    assert (usage.predictions, usage.others) == (3, {"beat": 1})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 900),
        ({"batch_n": 6}, 300),  # two of the six rows that ran
        ({"ph": {"authenticate": 50}}, 0),
        ({"ph": {"infer": 70}}, 70),
    ],
)
def test_compute_time_is_the_calls_share_of_its_batch(record, changes: dict[str, object], expected: int) -> None:
    assert compute_us(record(**changes)) == expected


def test_a_call_belongs_to_the_hour_in_which_it_was_received(record) -> None:
    usage = Usage()
    for t_us in (HOUR_US - 1, HOUR_US, 2 * HOUR_US - 1):
        usage.apply(record(t_us=t_us))
    assert {key.hour_us: sums.requests for key, sums in usage.rows.items()} == {0: 1, HOUR_US: 2}


def test_calls_that_are_no_prediction_are_counted_by_method_and_make_no_row(record) -> None:
    usage = Usage()
    usage.apply(record(method="inference.GRPCInferenceService/ModelMetadata"))
    assert (usage.rows, usage.predictions, usage.others) == ({}, 0, {"ModelMetadata": 1})


def test_a_method_without_its_service_is_a_prediction_all_the_same(record) -> None:
    usage = Usage()
    usage.apply(record(method="ModelInfer"))
    assert usage.predictions == 1
