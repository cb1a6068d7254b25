"""Reading a version: the digest is of the bytes, and nothing outside the model's directory is ever read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from serving_graphs import external, place, scale

from gateway.serving.servable import ModelUnloadable
from gateway.serving.version_files import VersionFiles


def files(path: Path) -> VersionFiles:
    return VersionFiles(path.parent.parent, path)


def refused(path: Path) -> str:
    with pytest.raises(ModelUnloadable) as caught:
        files(path).read()
    return str(caught.value)


def test_the_digest_of_one_file_is_that_files_sha256(tmp_path: Path) -> None:
    path = place(tmp_path, "m", scale(2))
    contents = files(path).read()
    assert contents.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert contents.model == path.read_bytes()


def test_the_digest_covers_external_weights(tmp_path: Path) -> None:
    path = place(tmp_path, "m", external("w.bin"))
    (path.parent / "w.bin").write_bytes(bytes(64))
    before = files(path).read()
    assert before.external == {"w.bin": bytes(64)}
    listing = "".join(
        f"{hashlib.sha256((path.parent / name).read_bytes()).hexdigest()}  {name}\n" for name in ("model.onnx", "w.bin")
    )
    assert before.digest == f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"
    (path.parent / "w.bin").write_bytes(b"\1" + bytes(63))
    assert files(path).read().digest != before.digest


@pytest.mark.parametrize("location", ["../../../secret", "/etc/hostname", "", "a/../../x", "..", "w\0"])
def test_external_weights_that_leave_the_directory_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(64))
    words = refused(place(tmp_path / "repository", "m", external(location)))
    assert "must be a relative path inside the model's directory" in words


def test_external_weights_behind_a_link_that_leaves_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(64))
    path = place(tmp_path / "repository", "m", external("w.bin"))
    (path.parent / "w.bin").symlink_to(tmp_path / "secret")
    assert "outside the model's directory" in refused(path)


def test_a_model_file_behind_a_link_that_leaves_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.onnx").write_bytes(scale(2))
    path = place(tmp_path / "repository", "m", b"")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.onnx")
    assert "outside the model's directory" in refused(path)


def test_links_inside_the_directory_are_followed_as_kubernetes_mounts_need(tmp_path: Path) -> None:
    path = place(tmp_path, "m", b"")
    path.unlink()
    (path.parent / "..2024").mkdir()
    (path.parent / "..2024" / "model.onnx").write_bytes(scale(2))
    path.symlink_to(path.parent / "..2024" / "model.onnx")
    assert files(path).read().model == scale(2)


def test_what_is_missing_or_no_file_is_named(tmp_path: Path) -> None:
    path = place(tmp_path, "m", external("w.bin"))
    assert f"{path.parent / 'w.bin'}: No such file" in refused(path)
    os.mkfifo(path.parent / "w.bin")
    assert "not a regular file" in refused(path)


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    path = place(tmp_path, "m", scale(2)[:40])
    assert f"{path}: not a complete ONNX model" in refused(path)


def test_the_stamp_changes_with_any_file(tmp_path: Path) -> None:
    path = place(tmp_path, "m", external("w.bin"))
    (path.parent / "w.bin").write_bytes(bytes(64))
    before = files(path).stamp()
    assert files(path).stamp() == before
    (path.parent / "w.bin").write_bytes(bytes(65))
    assert files(path).stamp() != before
    assert files(path).size() == path.stat().st_size + 65
