"""Rates and quotas over the shared table: all or nothing, restarts, and several workers at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import PermissionDenied, Throttled
from gateway.pipeline.counters import Counters, shared_counters
from gateway.policy.obligations import Quota, RateLimit

NOON = int(datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp())


class World:
    """Counters in a folder, with clocks that a test moves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ns = 10**12
        self.s = float(NOON)
        self.open = [self.worker()]

    def worker(self) -> Counters:
        counters = shared_counters(
            rates=self.folder / "rates",
            quotas=self.folder / "quotas",
            boot="boot",
            clock_ns=lambda: self.ns,
            clock_s=lambda: self.s,
        )
        counters.open()
        return counters

    def admits(self, *obligations: RateLimit | Quota, rows: int = 1, worker: int = 0) -> bool:
        rates = tuple(o for o in obligations if isinstance(o, RateLimit))
        quotas = tuple(o for o in obligations if isinstance(o, Quota))
        try:
            self.open[worker].take(rates, quotas, rows, "d1")
        except Throttled as error:
            self.retry_after_ms = error.retry_after_ms
            return error.decision_id != "d1"
        return True

    def close(self) -> None:
        for counters in self.open:
            counters.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def test_a_rate_admits_its_burst_and_then_its_rate(world: World) -> None:
    rate = RateLimit(key="t", rps=10, burst=3)
    assert [world.admits(rate) for _ in range(5)] == [True, True, True, False, False]
    assert world.retry_after_ms == 100
    world.ns += 100_000_000
    assert [world.admits(rate) for _ in range(2)] == [True, False]


def test_two_workers_share_one_rate_and_one_quota(world: World) -> None:
    world.open.append(world.worker())
    rate, quota = RateLimit(key="t", rps=0, burst=5), Quota(key="t", limit=4, window="day")
    assert sum(world.admits(rate, worker=n % 2) for n in range(20)) == 5
    assert sum(world.admits(quota, worker=n % 2) for n in range(20)) == 4


def test_rows_cost_as_many_tokens(world: World) -> None:
    rate = RateLimit(key="t", rps=1, burst=10, cost="rows")
    assert world.admits(rate, rows=8)
    assert not world.admits(rate, rows=8)
    assert world.retry_after_ms == 6000
    assert world.admits(rate, rows=2)


def test_an_empty_batch_is_not_free(world: World) -> None:
    rate = RateLimit(key="t", rps=0, burst=2, cost="rows")
    assert [world.admits(rate, rows=0) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    "obligation",
    [
        RateLimit(key="t", rps=1000, burst=10, cost="rows"),
        RateLimit(key="t", rps=1000, burst=0.5),
        Quota(key="t", limit=10, window="day", unit="rows"),
        Quota(key="t", limit=0, window="day"),
    ],
)
def test_what_could_never_fit_is_denied_and_not_told_to_retry(world: World, obligation: RateLimit | Quota) -> None:
    with pytest.raises(PermissionDenied) as caught:
        world.admits(obligation, rows=11)
    assert caught.value.codes == ("limit_exceeded",)
    assert caught.value.decision_id == "d1"


def test_all_keys_must_admit_and_a_refusal_takes_nothing(world: World) -> None:
    wide, narrow = RateLimit(key="wide", rps=0, burst=5), RateLimit(key="narrow", rps=0, burst=1)
    quota = Quota(key="t", limit=4, window="day")
    assert world.admits(wide, narrow, quota)
    for _ in range(10):
        assert not world.admits(wide, narrow, quota)
    assert sum(world.admits(wide) for _ in range(10)) == 4
    assert sum(world.admits(quota) for _ in range(10)) == 3


def test_a_refused_quota_takes_no_token_either(world: World) -> None:
    rate, quota = RateLimit(key="t", rps=0, burst=2), Quota(key="t", limit=1, window="hour")
    assert [world.admits(rate, quota) for _ in range(5)] == [True, False, False, False, False]
    assert [world.admits(rate) for _ in range(2)] == [True, False]


def test_a_quota_begins_again_with_the_calendar(world: World) -> None:
    quota = Quota(key="t", limit=2, window="hour")
    assert [world.admits(quota) for _ in range(3)] == [True, True, False]
    assert world.retry_after_ms == 3_600_000
    world.s += 3599
    assert not world.admits(quota)
    assert world.retry_after_ms == 1000
    world.s += 1
    assert [world.admits(quota) for _ in range(3)] == [True, True, False]


def test_a_clock_set_back_refills_no_quota(world: World) -> None:
    quota = Quota(key="t", limit=1, window="hour")
    assert world.admits(quota)
    world.s -= 7200
    assert not world.admits(quota)
    world.s += 7200
    assert not world.admits(quota)


def test_a_quota_survives_a_restart_and_so_does_a_rate(world: World) -> None:
    rate, quota = RateLimit(key="t", rps=0, burst=1), Quota(key="t", limit=1, window="month")
    assert world.admits(rate, quota)
    world.close()
    world.open = [world.worker()]
    assert not world.admits(quota)
    assert not world.admits(rate)


def test_windows_and_units_of_one_key_count_apart(world: World) -> None:
    hour, day = Quota(key="t", limit=1, window="hour"), Quota(key="t", limit=3, window="day")
    rows = Quota(key="t", limit=5, window="day", unit="rows")
    assert world.admits(hour, day, rows, rows=5)
    assert not world.admits(hour, day)
    world.s += 3600
    assert world.admits(hour, day)
    assert not world.admits(rows)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2_000_000_000),
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from(["a", "b", "c"]),
            st.integers(0, 1),
        ),
        max_size=60,
    )
)
def test_every_span_of_every_key_keeps_its_law(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[int, str, str, int]]
) -> None:
    world = World(tmp_path_factory.mktemp("counters"))
    world.open.append(world.worker())
    admitted: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for wait_ns, one, other, worker in calls:
        world.ns += wait_ns
        keys = sorted({one, other})
        if world.admits(*(RateLimit(key=k, rps=2, burst=3) for k in keys), worker=worker):
            for key in keys:
                admitted[key].append(world.ns)
    for times in admitted.values():
        for first, start in enumerate(times):
            for last in range(first, len(times)):
                assert last - first + 1 <= 3 + 2 * (times[last] - start) / 1e9 + 1e-6
    world.close()


WORKER = """
import sys, time
from pathlib import Path
from gateway.errors import Throttled
from gateway.pipeline.counters import shared_counters
from gateway.policy.obligations import Quota, RateLimit

folder = Path(sys.argv[1])
counters = shared_counters(rates=folder / "rates", quotas=folder / "quotas", boot="boot",
                           clock_ns=time.monotonic_ns, clock_s=lambda: 1_795_000_000)
counters.open()
rates = (RateLimit(key="one", rps=200, burst=50), RateLimit(key="two", rps=1e9, burst=1e9))
quota = (Quota(key="t", limit=500, window="month"),)
print("ready", flush=True)
sys.stdin.readline()
counts, start = [0, 0], time.monotonic_ns()
while time.monotonic_ns() - start < 1_000_000_000:
    for n, needs in enumerate(((rates, ()), ((), quota))):
        try:
            counters.take(*needs, 1)
            counts[n] += 1
        except Throttled:
            pass
print(*counts, start, time.monotonic_ns())
"""


def test_processes_at_once_do_not_multiply_a_rate(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    workers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    results = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        out, _ = worker.communicate(timeout=30)
        results.append([int(word) for word in out.split()])
    span_s = (max(r[3] for r in results) - min(r[2] for r in results)) / 1e9
    assert sum(r[0] for r in results) <= 50 + 200 * span_s
    assert sum(r[0] for r in results) >= 200  # and the sharing starves nobody of what is there
    assert sum(r[1] for r in results) == 500
