"""Directories as a source: both layouts, every malformed one, and changes while we watch."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving_graphs import place, scale

from gateway.serving.manager import Manager
from gateway.serving.onnx import OnnxRuntime
from gateway.serving.settings import ModelSettings, VersionPolicy
from gateway.serving.sources import DirectorySource, select
from gateway.serving.version_policy import State
from gateway.types import ModelRef


def parse(text: str) -> ModelSettings:
    """A stand-in for the protobuf text parser: a name, a label, or nonsense."""
    if text.startswith("label: "):
        label, version = text.removeprefix("label: ").split()
        return ModelSettings(parameters={f"version_label.{label}": version}, version_policy=VersionPolicy(kind="all"))
    if not text.startswith("name: "):
        raise ValueError("1:1 : expected a field name")
    return ModelSettings(name=text.removeprefix("name: ").strip())


@pytest.fixture
def source(tmp_path: Path, runtime: OnnxRuntime) -> DirectorySource:
    return DirectorySource([tmp_path], parse=parse, make=runtime.loader)


async def rows(source: DirectorySource, executor: ThreadPoolExecutor) -> dict[str, tuple[str, State, str]]:
    """What a manager makes of the source, by model."""
    manager = Manager(executor, linger_s=0)
    await manager.start(source)
    found = {row.name: (row.version, row.state, row.reason) for row in manager.index()}
    await manager.close()
    return found


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (VersionPolicy(), [10]),
        (VersionPolicy(num_versions=2), [2, 10]),
        (VersionPolicy(kind="all"), [1, 2, 10]),
        (VersionPolicy(kind="specific", versions=(1, 7)), [1]),
    ],
)
def test_the_version_policy_selects(policy: VersionPolicy, expected: list[int]) -> None:
    assert select(policy, [10, 1, 2]) == expected


async def test_the_newest_version_by_number_serves(tmp_path: Path, source, executor) -> None:  # type: ignore[no-untyped-def]
    for version in (1, 2, 10):
        place(tmp_path, "m", scale(version), version)
    assert await rows(source, executor) == {"m": ("10", State.READY, "")}


async def test_each_bad_model_says_why_and_the_others_serve(tmp_path: Path, source, executor) -> None:  # type: ignore[no-untyped-def]
    place(tmp_path, "good", scale(2))
    place(tmp_path, "cut", scale(2)[:60])
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd" / "latest").mkdir(parents=True)
    (tmp_path / "hollow" / "1").mkdir(parents=True)
    place(tmp_path, "broken", scale(2)).parent.parent.joinpath("config.pbtxt").write_text("{")
    place(tmp_path, "alias", scale(2)).parent.parent.joinpath("config.pbtxt").write_text("name: other")
    (tmp_path / "notes.txt").write_text("not a model")
    found = await rows(source, executor)
    assert found.pop("good") == ("1", State.READY, "")
    assert {name: state for name, (_, state, _) in found.items()} == dict.fromkeys(found, State.UNAVAILABLE)
    reasons = {name: reason for name, (_, _, reason) in found.items()}
    assert f"{tmp_path}/cut/1/model.onnx: not a complete ONNX model" in reasons["cut"]
    assert "no version directory (a number, such as" in reasons["empty"]
    assert "it has ['latest']" in reasons["odd"]
    assert f"{tmp_path}/hollow/1/model.onnx: No such file" in reasons["hollow"]
    assert f"{tmp_path}/broken/config.pbtxt: 1:1 : expected a field name" in reasons["broken"]
    assert "its name is 'other', but the directory's is 'alias'" in reasons["alias"]
    assert set(reasons) == {"cut", "empty", "odd", "hollow", "broken", "alias"}


async def test_one_name_in_two_repositories_is_refused(tmp_path: Path, runtime: OnnxRuntime, executor) -> None:  # type: ignore[no-untyped-def]
    for repository in ("a", "b"):
        place(tmp_path / repository, "m", scale(2))
    place(tmp_path / "b", "n", scale(2))
    source = DirectorySource([tmp_path / "a", tmp_path / "b"], parse=parse, make=runtime.loader)
    found = await rows(source, executor)
    assert "model appears in two or more repositories" in found["m"][2]
    assert found["n"][1] is State.READY


async def test_a_bare_model_is_served_as_kserve_mounts_it(tmp_path: Path, runtime: OnnxRuntime, executor) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "model.onnx").write_bytes(scale(2))
    source = DirectorySource([tmp_path], parse=parse, make=runtime.loader, name="iris")
    assert await rows(source, executor) == {"iris": ("1", State.READY, "")}


async def test_bare_version_directories_are_one_model(tmp_path: Path, runtime: OnnxRuntime, executor) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "model.onnx").write_bytes(scale(2))
    source = DirectorySource([tmp_path], parse=parse, make=runtime.loader)
    assert await rows(source, executor) == {tmp_path.name: ("3", State.READY, "")}


async def test_a_model_directory_that_is_a_link_out_of_the_repository_is_refused(
    tmp_path: Path, runtime: OnnxRuntime, executor: ThreadPoolExecutor
) -> None:
    place(tmp_path / "elsewhere", "m", scale(2))
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "m").symlink_to(tmp_path / "elsewhere" / "m")
    source = DirectorySource([tmp_path / "repository"], parse=parse, make=runtime.loader)
    found = await rows(source, executor)
    assert "outside the repository" in found["m"][2]


async def test_changes_in_the_directory_are_followed_and_a_broken_one_keeps_the_old(
    tmp_path: Path, runtime: OnnxRuntime, executor: ThreadPoolExecutor
) -> None:
    path = place(tmp_path, "m", scale(2))
    source = DirectorySource([tmp_path], parse=parse, make=runtime.loader, poll_s=0.02)
    manager = Manager(executor, linger_s=0)
    changed = asyncio.Event()
    manager.subscribe(changed.set)
    await manager.start(source)
    first = manager.resolve(ModelRef("m")).id

    path.write_bytes(scale(3)[:50])
    while all(row.state is not State.UNAVAILABLE for row in manager.index()):
        changed.clear()
        await asyncio.wait_for(changed.wait(), 10)
    assert manager.resolve(ModelRef("m")).id == first
    path.write_bytes(scale(3))
    while manager.resolve(ModelRef("m")).id == first:
        changed.clear()
        await asyncio.wait_for(changed.wait(), 10)
    assert manager.ready(ModelRef("m", "1"))
    await source.close()
    await manager.close()


async def test_version_labels_come_from_the_configuration(tmp_path: Path, source, executor) -> None:  # type: ignore[no-untyped-def]
    for version in (1, 2):
        place(tmp_path, "m", scale(version), version)
    config = tmp_path / "m" / "config.pbtxt"
    config.write_text("label: canary 1")
    manager = Manager(executor, linger_s=0)
    await manager.start(source)
    assert manager.resolve(ModelRef("m", "canary")).id.version == "1"
    config.write_text("label: 12 1")
    await manager.refresh()
    await manager.converged()
    assert "version label '12' must be letters" in manager.index()[0].reason
    assert manager.resolve(ModelRef("m")).id.version == "2"
    await manager.close()


async def test_a_model_may_be_called_by_a_number(tmp_path: Path, source, executor) -> None:  # type: ignore[no-untyped-def]
    place(tmp_path, "2024", scale(2))
    place(tmp_path, "other", scale(3))
    assert set(await rows(source, executor)) == {"2024", "other"}


async def test_a_stray_link_to_nowhere_harms_nobody(tmp_path: Path, source, executor) -> None:  # type: ignore[no-untyped-def]
    path = place(tmp_path, "m", scale(2))
    (path.parent / "old").symlink_to(tmp_path / "gone")
    assert await rows(source, executor) == {"m": ("1", State.READY, "")}
