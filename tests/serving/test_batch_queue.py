"""The queue's laws: nobody is lost, split, overtaken within a shape, or batched with another shape."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.batch_queue import BatchQueue, Rule, Waiting


def call(number: int, rows: int = 1, width: int = 4, since: int = 0, expires: int | None = None) -> Waiting[int]:
    return Waiting(number, {"x": np.zeros((rows, width), np.float32)}, rows, since, expires)


calls = st.lists(st.tuples(st.integers(1, 5), st.sampled_from([2, 3]), st.booleans()), max_size=20)


@given(calls, st.integers(0, 8), st.integers(1, 4))
def test_every_call_leaves_once_whole_in_order_and_with_its_like(
    raw: list[tuple[int, int, bool]], limit: int, takers: int
) -> None:
    queue: BatchQueue[int] = BatchQueue(Rule(limit))
    waiting = [call(i, rows, width, since=i) for i, (rows, width, _) in enumerate(raw)]
    for one in waiting:
        queue.push(one)
    gone = {one.caller for one, (_, _, leaves) in zip(waiting, raw, strict=True) if leaves and queue.remove(one)}
    seen: list[Waiting[int]] = []
    while batch := queue.take(100, takers):
        assert len({one.key for one in batch}) == 1
        assert len(batch) == 1 or sum(one.rows for one in batch) <= limit
        seen.extend(batch)
    assert sorted(one.caller for one in seen) == sorted(set(range(len(raw))) - gone)
    for width in (2, 3):
        order = [one.caller for one in seen if one.inputs["x"].shape[1] == width]
        assert order == sorted(order)
    assert len(queue) == 0


def test_the_shape_that_waited_longest_goes_first() -> None:
    queue: BatchQueue[int] = BatchQueue(Rule(8))
    for number, width in enumerate((2, 3, 2, 3)):
        queue.push(call(number, width=width, since=number))
    assert [one.caller for one in queue.take(9)] == [0, 2]
    assert [one.caller for one in queue.take(9)] == [1, 3]


def test_a_delay_waits_for_a_preferred_size_and_no_longer_than_it_may() -> None:
    queue: BatchQueue[int] = BatchQueue(Rule(8, delay_ns=100, preferred=(3,)))
    queue.push(call(0, since=10))
    assert queue.take(50) == []
    assert queue.due_ns() == 110
    queue.push(call(1, rows=2, since=60))
    assert len(queue.take(60)) == 2
    queue.push(call(2, since=200))
    assert queue.take(299) == []
    assert len(queue.take(300)) == 1


def test_what_expired_is_taken_out_before_anything_runs() -> None:
    queue: BatchQueue[int] = BatchQueue(Rule(8))
    queue.push(call(0, expires=10))
    queue.push(call(1, expires=11))
    queue.push(call(2))
    assert [one.caller for one in queue.expire(10)] == [0]
    assert [one.caller for one in queue.take(10)] == [1, 2]


def test_without_batching_every_call_runs_alone() -> None:
    queue: BatchQueue[int] = BatchQueue(Rule())
    queue.push(call(0))
    queue.push(call(1))
    assert len(queue.take(0)) == 1


def test_idle_instances_share_what_waits() -> None:
    queue: BatchQueue[int] = BatchQueue(Rule(64))
    for number in range(7):
        queue.push(call(number))
    assert [len(queue.take(0, takers)) for takers in (3, 2, 1)] == [3, 2, 2]


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans()), max_size=20))
def test_priority_goes_before_lateness_and_lateness_before_arrival(raw: list[tuple[int, int, bool, bool]]) -> None:
    queue: BatchQueue[int] = BatchQueue(Rule(4))
    waiting = []
    for number, (rows, priority, falls_behind, expires) in enumerate(raw):
        late_ns, expires_ns = (10 if falls_behind else None), (10 if expires else None)
        x = {"x": np.zeros((rows, 2), np.float32)}
        waiting.append(Waiting(number, x, rows, number, expires_ns, late_ns=late_ns, priority=priority))
        queue.push(waiting[-1])
    for level in (1, 2, 3):
        assert queue.length(level) == sum(one.priority == level for one in waiting)
    gone = queue.expire(10)
    assert {one.caller for one in gone} == {number for number, (_, _, _, expires) in enumerate(raw) if expires}
    left = [one for one in waiting if one not in gone]
    assert queue.rows == sum(one.rows for one in left)
    seen: list[Waiting[int]] = []
    while batch := queue.take(10):
        seen.extend(batch)
    wanted = sorted(left, key=lambda one: (one.priority, one.late_ns is not None, one.since_ns))
    assert [one.caller for one in seen] == [one.caller for one in wanted]
    assert (len(queue), queue.rows) == (0, 0)
