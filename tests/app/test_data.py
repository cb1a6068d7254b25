"""The data directory: made, probed, held by one gateway."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.app.data import DataDir
from gateway.app.failure import StartupError
from gateway.app.secret import ensure_secret


def test_preparing_makes_every_folder_and_keeps_secrets(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    data.prepare()
    first = data.request_key.read_bytes()
    data.prepare()

    assert data.request_key.read_bytes() == first
    assert len(first) == 32
    assert data.request_key.stat().st_mode & 0o077 == 0
    assert data.ledger.is_dir()
    assert first != data.mask_key.read_bytes()


def test_what_it_makes_is_open_to_its_owner_alone(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "srv" / "data")
    data.prepare()
    for folder in (data.root, data.ledger, data.governance, data.state, data.observer):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o750)
    DataDir(tmp_path / "data").prepare()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o750


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a directory")
    with pytest.raises(StartupError, match=r"is not writable: .*give another one with --data DIR"):
        DataDir(tmp_path / "data").prepare()


def test_a_second_gateway_is_refused_and_told_who_holds_the_directory(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    held = data.lock()
    try:
        with pytest.raises(StartupError, match=rf"in use by another gateway \(process {os.getpid()}\)"):
            data.lock()
    finally:
        os.close(held)
    os.close(data.lock())


def test_a_secret_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "request.key"
    path.write_bytes(b"short")
    with pytest.raises(StartupError, match="has 5 bytes, expected 32"):
        ensure_secret(path)
