"""ModelStatistics: which versions, what is hidden, and every counter under its own name."""

from __future__ import annotations

import pytest

from gateway.rpc.statistics import to_wire
from gateway.serving.statistics import BatchStatistics, Duration, ModelStatistics
from gateway.transport.seam import Refused
from gateway.v1 import inference as v1

COUNTED = ModelStatistics(
    name="credit",
    version="3",
    last_inference_ms=7,
    inference_count=9,
    execution_count=2,
    success=Duration(3, 30),
    fail=Duration(1, 10),
    queue=Duration(3, 4),
    compute_input=Duration(3, 5),
    compute_infer=Duration(3, 6),
    compute_output=Duration(3, 7),
    batches={4: BatchStatistics(count=1, compute_input_ns=1, compute_infer_ns=2, compute_output_ns=3)},
)


@pytest.fixture
def ask(build, call):
    table = build(statistics=lambda: [COUNTED])

    async def ask(name: str = "", version: str = ""):
        request = v1.ModelStatisticsRequest(name=name, version=version)
        response, _ = await call("ModelStatistics", request, v1.ModelStatisticsResponse, table)
        return [(row.name, row.version, row.inference_count) for row in response.model_stats]

    return ask


async def test_a_name_means_all_its_ready_versions_counted_or_not(ask):
    assert await ask("credit") == [("credit", "2", 0), ("credit", "3", 9)]


async def test_a_version_means_that_one(ask):
    assert await ask("credit", "3") == [("credit", "3", 9)]


async def test_no_name_means_every_model_that_the_caller_may_see(ask, gate):
    assert await ask() == [("credit", "2", 0), ("credit", "3", 9)]
    gate.hidden = {"credit"}
    assert await ask() == []


@pytest.mark.parametrize(("name", "version"), [("nobody", ""), ("credit", "7"), ("fraud", "")])
async def test_what_is_not_ready_has_no_statistics(ask, name, version):
    with pytest.raises(Refused, match="requested model version is not available for model") as refused:
        await ask(name, version)
    assert refused.value.code == 3


def test_every_counter_has_its_own_field():
    row = to_wire(COUNTED)
    assert (row.last_inference, row.inference_count, row.execution_count) == (7, 9, 2)
    stats = row.inference_stats
    pairs = [(d.count, d.ns) for d in (stats.success, stats.fail, stats.queue)]
    assert pairs == [(3, 30), (1, 10), (3, 4)]
    assert [d.ns for d in (stats.compute_input, stats.compute_infer, stats.compute_output)] == [5, 6, 7]
    (batch,) = row.batch_stats
    assert (batch.batch_size, batch.compute_infer.count, batch.compute_infer.ns) == (4, 1, 2)


def test_a_version_nobody_called_has_all_durations_present():
    stats = to_wire(ModelStatistics(name="m", version="1")).inference_stats
    assert {field.name for field, _ in stats.ListFields()} == {
        *("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
    }
