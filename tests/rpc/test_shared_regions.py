"""Shared memory: bounds, names, and a caller who plays with the memory under our feet."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import AlreadyExists, GatewayError, InvalidInput, NotFound, RegionUnusable
from gateway.rpc.shared_regions import Registered, SharedRegions
from gateway.shared_file import SharedFile


def worker(folder: Path) -> SharedRegions:
    """The regions as one worker sees them."""
    return SharedRegions(SharedFile(folder / "regions", Registered, Registered(), epoch="1"), str(folder))


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    path = tmp_path / "mem"
    path.write_bytes(bytes(range(100)))
    return path


@pytest.fixture
def regions(tmp_path: Path, memory: Path):
    regions = worker(tmp_path)
    regions.register("r", "/mem", 10, 50)
    yield regions
    regions.close()


def test_what_is_read_is_what_lies_there(regions):
    assert regions.read("r", 5, 3) == bytes([15, 16, 17])


def test_what_is_written_lies_there(regions, memory):
    regions.write("r", 0, 4, memoryview(b"abcd"), "y")
    assert memory.read_bytes()[10:14] == b"abcd"


def test_another_worker_sees_what_was_registered_and_what_was_not(regions, tmp_path):
    other = worker(tmp_path)
    assert other.read("r", 0, 1) == b"\x0a"
    regions.unregister("r")
    with pytest.raises(NotFound):
        other.read("r", 0, 1)
    other.close()


def test_a_region_registered_anew_is_opened_anew(regions, tmp_path, memory):
    assert regions.read("r", 0, 1) == b"\x0a"
    regions.unregister("")
    memory.unlink()
    memory.write_bytes(b"x" * 100)
    regions.register("r", "mem", 0, 10)
    assert regions.read("r", 0, 1) == b"x"
    assert len(regions._open) == 1


@given(offset=st.integers(-(2**63), 2**63 - 1), size=st.integers(-(2**63), 2**63 - 1))
def test_nothing_outside_the_region_is_ever_read(tmp_path_factory, offset, size):
    folder = tmp_path_factory.mktemp("shm")
    (folder / "mem").write_bytes(b"\xff" * 10 + bytes(50) + b"\xff" * 40)
    regions = worker(folder)
    regions.register("r", "/mem", 10, 50)
    try:
        data = regions.read("r", offset, size)
    except InvalidInput:
        assert offset < 0 or size < 0 or offset + size > 50 or offset >= 50
    else:
        assert data == bytes(size)
    finally:
        regions.close()


@pytest.mark.parametrize(
    ("offset", "size", "text"),
    [
        (50, 1, "Invalid offset for shared memory region"),
        (-1, 1, "Invalid offset for shared memory region"),
        (40, 11, "Invalid offset + byte size for shared memory region"),
        (1, 2**63 - 1, "Integer overflow detected: byte_size"),
    ],
)
def test_bounds_have_the_words_that_clients_match(regions, offset, size, text):
    with pytest.raises(InvalidInput) as refused:
        regions.read("r", offset, size)
    assert str(refused.value).startswith(text)


def test_memory_that_was_taken_away_is_an_error_and_no_signal(regions, memory):
    os.truncate(memory, 12)
    with pytest.raises(InvalidInput, match="shorter"):
        regions.read("r", 0, 40)
    with pytest.raises(InvalidInput, match="shorter"):
        regions.write("r", 0, 40, b"x" * 40, "y")
    assert memory.stat().st_size == 12


def test_an_output_that_does_not_fit_is_refused(regions):
    with pytest.raises(RegionUnusable, match="shared memory size specified with the request for output 'y'"):
        regions.write("r", 0, 2, b"abc", "y")


def test_a_name_is_taken_once(regions):
    with pytest.raises(AlreadyExists, match="shared memory region 'r' already in manager"):
        regions.register("r", "/mem", 0, 1)


@pytest.mark.parametrize(("offset", "size"), [(0, 0), (0, 101), (100, 1), (2**63, 1), (0, 2**63)])
def test_a_region_must_lie_in_its_memory(regions, offset, size):
    with pytest.raises(InvalidInput, match="failed to register shared memory region 'q': invalid args"):
        regions.register("q", "/mem", offset, size)


@pytest.mark.parametrize("key", ["", "/", "..", "/../mem", "a/b", "nothing", "folder", "link", "fifo", "a\0b"])
def test_only_memory_objects_can_be_opened(regions, tmp_path, key):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mem")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(RegionUnusable, match="Unable to open shared memory region"):
        regions.register("q", key, 0, 1)


def test_status_names_what_is_registered(regions):
    assert regions.status("r")["r"].byte_size == 50
    assert list(regions.status("")) == ["r"]
    with pytest.raises(GatewayError, match="Unable to find system shared memory region: 'q'"):
        regions.status("q")


def test_what_an_earlier_run_registered_is_not_seen(regions, tmp_path):
    later = SharedRegions(SharedFile(tmp_path / "regions", Registered, Registered(), epoch="2"), str(tmp_path))
    assert later.status("") == {}
