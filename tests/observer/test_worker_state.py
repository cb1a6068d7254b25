"""Workers' state files: whole or not there, stale when nobody writes, and no obstacle when broken."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gateway.observer.gauges import worker_gauges
from gateway.observer.readiness import judge
from gateway.observer.state import STALE_US, LedgerState, ModelState, PolicyState, WorkerState, read


def state(worker: int = 0, **changes: object) -> WorkerState:
    fields: dict[str, object] = {
        "worker": worker,
        "pid": 10 + worker,
        "started_us": 1,
        "time_us": 1000,
        "ready": True,
        "models": (ModelState(name="credit", version="3", state="READY"),),
        "policy": PolicyState(revision="r7"),
    }
    return WorkerState(**(fields | changes))  # type: ignore[arg-type]


def reasons(*states: WorkerState, workers: tuple[int, ...] = (0,), now_us: int = 1000) -> list[str]:
    judged = judge(states, workers=workers, now_us=now_us, lags_us={"usage": 10**9}, broken={})
    return [f"{check.name}: {check.detail}" for check in judged.checks if not check.ok]


def test_what_is_written_is_read_by_number(tmp_path: Path) -> None:
    for worker in (2, 0):
        state(worker).write(tmp_path)
    assert read(tmp_path) == [state(0), state(2)]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["worker-0.json", "worker-2.json"]


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    state(0).write(tmp_path)
    (tmp_path / "worker-1.json").write_bytes(b'{"worker": 1, "pid"')
    (tmp_path / "worker-2.json").write_bytes(b'{"worker": "two"}')
    assert read(tmp_path) == [state(0)]
    assert read(tmp_path / "nowhere") == []


def test_nobody_ever_reads_half_a_state(tmp_path: Path) -> None:
    done = threading.Event()
    seen = []

    def watch() -> None:
        while not done.is_set():
            seen.append(len(read(tmp_path)))

    state(0).write(tmp_path)
    watcher = threading.Thread(target=watch)
    watcher.start()
    for n in range(300):
        state(0, inflight=n, models=(ModelState(name="m" * 5000, version="1", state="READY"),)).write(tmp_path)
    done.set()
    watcher.join()
    assert set(seen) == {1}


@pytest.mark.parametrize("now_us", [1000 + STALE_US + 1, 1000 - STALE_US - 1])
def test_a_state_far_from_now_is_stale_whichever_way_the_clock_jumped(now_us: int) -> None:
    assert state().stale(now_us)
    assert not state().stale(1000)


def test_ready_when_every_worker_is_and_lag_does_not_matter() -> None:
    assert reasons(state(0), state(1), workers=(0, 1)) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ready": False, "reason": "shutting down"}, "worker-0: shutting down"),
        ({"models": ()}, "worker-0-models: 0 available"),
        ({"policy": PolicyState()}, "worker-0-policy: no policy is active"),
        ({"ledger": LedgerState(ok=False, error="disk full")}, "worker-0-ledger: disk full"),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, object], expected: str) -> None:
    assert reasons(state(**changes)) == [expected]


def test_a_worker_that_never_wrote_is_named_and_one_too_many_is_ignored() -> None:
    assert reasons(state(0), workers=(0, 1)) == ["worker-1: not started"]
    assert reasons(state(0), state(7, ready=False), workers=(0,)) == []
    assert reasons(state(0, ready=False), state(7), workers=(7,)) == []  # a reload gives the next workers other numbers


def test_a_refused_policy_is_shown_while_the_last_good_one_serves() -> None:
    judged = judge(
        [state(policy=PolicyState(revision="r7", error="main.rego:3:1: rego_parse_error"))],
        workers=(0,),
        now_us=1000,
        lags_us={},
        broken={},
    )
    assert judged.ready
    assert "a newer one was refused: main.rego:3:1: rego_parse_error" in judged.checks[2].detail


def test_a_model_that_could_not_be_loaded_is_named_with_the_cause_and_counted() -> None:
    cut = "/models/credit/4/model.onnx ends at byte 50"
    models = (
        ModelState(name="credit", version="3", state="READY", reason=cut),  # its replacement failed, the old one serves
        ModelState(name="fraud", version="1", state="UNAVAILABLE", reason=cut),
        ModelState(name="old", version="1", state="UNAVAILABLE", reason="unloaded"),
        ModelState(name="new", version="1", state="LOADING"),
    )
    judged = judge([state(models=models)], workers=(0,), now_us=1000, lags_us={}, broken={})
    assert judged.ready
    assert judged.checks[1].detail == (
        f"1 available; credit:3 is READY ({cut}), fraud:1 is UNAVAILABLE ({cut}), old:1 is UNAVAILABLE (unloaded), "
        "new:1 is LOADING"
    )
    failed = next(family for family in worker_gauges([state(models=models)], 1000) if family.name.endswith("_failed"))
    assert failed.cells == {("credit", "3"): 1, ("fraud", "1"): 1}


def test_waiting_calls_are_summed_over_workers_by_model_and_only_where_it_serves() -> None:
    model = ModelState(name="credit", version="3", state="READY", waiting=2)
    gone = ModelState(name="old", version="1", state="UNAVAILABLE", waiting=9)
    states = [state(0, models=(model, gone)), state(1, models=(model,)), state(2, models=(model,), time_us=-(10**9))]
    depth = next(family for family in worker_gauges(states, 1000) if family.name == "gateway_queue_depth")
    assert depth.cells == {("credit", "3"): 4}  # the third worker was last heard of long ago


def test_certificates_are_told_by_subject() -> None:
    told = {"CN=gateway": 1_900_000_000}
    families = worker_gauges([state(0, certificates=told), state(1, certificates=told)], 1000)
    expiry = next(family for family in families if family.name == "gateway_cert_expiry_timestamp_seconds")
    assert expiry.cells == {("CN=gateway",): 1_900_000_000}


def test_without_any_check_nothing_is_ready() -> None:
    assert not judge([], workers=(), now_us=0, lags_us={}, broken={}).ready
