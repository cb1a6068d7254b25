"""Load and unload requests: every worker follows, failures are told and undone, files come and go."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from gateway.errors import FailedPrecondition, InvalidInput, NothingToLoad, Unavailable
from gateway.rpc.model_config import parse_json
from gateway.serving.control import RepositoryControl
from gateway.serving.desired import Desired, initial
from gateway.serving.roster import ModelStatus
from gateway.serving.version_policy import State
from gateway.shared_file import SharedFile


class MemoryManager:
    """Serves what is desired at once; models in ``bad`` fail to load."""

    def __init__(self, desired: SharedFile[Desired]) -> None:
        self._desired = desired
        self.bad: set[str] = set()
        self.served: list[str] = []

    async def refresh(self) -> None:
        self.served = sorted(self._desired.get().loads)

    async def converged(self) -> None:
        return

    def pending(self) -> bool:
        return False

    def index(self) -> list[ModelStatus]:
        states = {True: (State.UNAVAILABLE, "no graph"), False: (State.READY, "")}
        return [ModelStatus(name, "1", *states[name in self.bad]) for name in self.served]


class Worker:
    """One of two workers of a gateway whose repository holds ``a`` and ``b``; ``a`` is served at the start."""

    def __init__(self, folder: Path, index: int, **options) -> None:
        self.desired = SharedFile(folder / "models", Desired, initial(["a"]), epoch="1")
        self.manager = MemoryManager(self.desired)
        self.now_s = 0.0
        self.control = RepositoryControl(
            self.desired,
            self.manager,
            **{
                "names": lambda: ["a", "b"],
                "parse_json": parse_json,
                "folder": folder,
                "index": index,
                "workers": (0, 1),
                "epoch": "1",
                "clock_s": lambda: self.now_s,
                **options,
            },
        )


@pytest.fixture
async def pair(tmp_path):
    """Two workers that follow."""
    workers = [Worker(tmp_path, 0, accept_files=True), Worker(tmp_path, 1)]
    tasks = [asyncio.create_task(worker.control.run()) for worker in workers]
    yield workers
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_both_workers_have_followed_when_the_answer_comes(pair):
    one, other = pair
    await one.control.load("b", None, {})
    assert one.manager.served == other.manager.served == ["a", "b"]
    await other.control.unload("a")
    assert one.manager.served == other.manager.served == ["b"]
    assert one.control.unloaded("a")
    assert not one.control.unloaded("b")


async def test_a_failure_in_the_other_worker_is_told_too(pair):
    one, other = pair
    other.manager.bad = {"b"}
    with pytest.raises(InvalidInput, match="load failed for model 'b': version 1 is at UNAVAILABLE state: no graph;"):
        await one.control.load("b", None, {})


async def test_what_was_served_before_a_failed_load_is_served_again(pair):
    one, _ = pair
    one.manager.bad = {"a"}
    with pytest.raises(InvalidInput):
        await one.control.load("a", '{"max_batch_size": 2}', {})
    assert one.desired.get().loads["a"].config == ""


async def test_a_worker_that_does_not_follow_is_not_waited_for_for_ever(tmp_path):
    alone = Worker(tmp_path, 0, patience_s=0.2)
    with pytest.raises(Unavailable, match="not every worker"):
        await alone.control.load("b", None, {})


@pytest.mark.parametrize(
    ("config", "files", "error"),
    [
        ("{", {}, NothingToLoad),
        ('{"nope": 1}', {}, NothingToLoad),
        ("{}", {"x": b""}, NothingToLoad),
        ("{}", {"1/../x": b""}, NothingToLoad),
        ("{}", {"A" * 256: b""}, NothingToLoad),
        (None, {"1/model.onnx": b""}, InvalidInput),
        ("{}", {"1/model.onnx": b""}, FailedPrecondition),
    ],
)
async def test_requests_that_cannot_be_are_refused_and_change_nothing(tmp_path, config, files, error):
    worker = Worker(tmp_path, 0)
    with pytest.raises(error):
        await worker.control.load("a", config, files)
    assert worker.desired.get().serial == 0
    with pytest.raises(NothingToLoad):
        await worker.control.load("nobody", None, {})


async def test_files_are_kept_while_they_are_desired_and_for_a_while_after(pair, tmp_path):
    one, _ = pair

    def uploads() -> set[str]:
        return {path.name.split(".")[0] for path in (tmp_path / "uploads" / "1").iterdir()}

    one.now_s = os.stat(tmp_path).st_mtime
    await one.control.load("c", "{}", {"1/model.onnx": b"c"})
    folder = Path(one.desired.get().loads["c"].directory)
    assert (folder / "1" / "model.onnx").read_bytes() == b"c"
    await one.control.unload("c")
    await one.control.load("d", "{}", {"1/model.onnx": b"d"})
    assert uploads() == {"c", "d"}
    one.now_s += 3600
    await one.control.load("e", "{}", {"1/model.onnx": b"e"})
    assert uploads() == {"d", "e"}
