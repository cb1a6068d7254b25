"""Desired state of mode explicit: changes count up, and what was unloaded is remembered."""

from __future__ import annotations

from pathlib import Path

from gateway.rpc.model_config import parse_json
from gateway.serving.desired import Desired, Load, initial, wishes
from gateway.shared_file import SharedFile


def test_loading_and_unloading_are_counted_and_remembered():
    start = initial(["a"])
    loaded = start.with_load("b", Load())
    gone = loaded.without("a")
    back = gone.with_load("a", Load(config="{}"))
    assert [d.serial for d in (start, loaded, gone, back)] == [0, 1, 2, 3]
    assert (set(gone.loads), gone.unloaded) == ({"b"}, {"a"})
    assert (set(back.loads), back.unloaded) == ({"a", "b"}, frozenset())
    assert gone.without("never").unloaded == {"a"}


def test_wishes_are_the_desired_state_of_this_moment(tmp_path: Path):
    shared = SharedFile(tmp_path / "models", Desired, initial(["a"]), epoch="1")
    wanted = wishes(SharedFile(tmp_path / "models", Desired, initial(["a"]), epoch="1"), parse_json)
    assert wanted()["a"].settings is None
    shared.change(lambda d: d.with_load("b", Load('{"max_batch_size": 2}', "/models/b")))
    wish = wanted()["b"]
    assert (wish.settings.name, wish.settings.max_batch_size, wish.directory) == ("b", 2, Path("/models/b"))
