"""A disk that is nearly full is said before it is full."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.ledger.space import Space
from gateway.ledger.sqlite_release import reset_bug

GIB = 1 << 30


def disk(free: int, total: int) -> os.statvfs_result:
    """A disk of blocks of 4 KiB; what only root may write is not free."""
    return os.statvfs_result((4096, 4096, total // 4096, free // 4096 + 1_000, free // 4096, 0, 0, 0, 0, 255))


@pytest.mark.parametrize(
    ("free", "total", "low"),
    [
        (2 * GIB, 100 * GIB, False),
        (GIB // 2, 100 * GIB, True),
        (GIB // 2, 20 * GIB, False),  # more than a fiftieth of a small disk
        (GIB // 4, 20 * GIB, True),
        (0, GIB, True),
    ],
)
def test_low_is_less_than_a_gibibyte_and_than_a_fiftieth(free: int, total: int, low: bool) -> None:
    space = Space(Path("/data/ledger/gw.0"), lambda _: disk(free, total))
    assert space.room() == (free, total)
    assert bool(space.warning()) is low
    if low:
        assert space.warning() == (
            f"/data/ledger/gw.0 has {free >> 20} MiB left of {total >> 20}: free space before it is full"
        )


def test_a_disk_that_cannot_be_asked_says_nothing_and_a_real_one_has_room(tmp_path: Path) -> None:
    assert Space(tmp_path / "none").warning() == ""
    room = Space(tmp_path).room()
    assert 0 < room.free <= room.total


@pytest.mark.parametrize("version", [(3, 51, 3), (3, 53, 0), (3, 50, 7), (3, 50, 9), (3, 44, 6), (4, 0, 0)])
def test_fixed_releases_of_sqlite_pass(version: tuple[int, int, int]) -> None:
    assert reset_bug(version) == ""


@pytest.mark.parametrize("version", [(3, 40, 1), (3, 51, 2), (3, 50, 6), (3, 44, 5), (3, 45, 9), (3, 7, 0)])
def test_others_are_named(version: tuple[int, int, int]) -> None:
    assert ".".join(map(str, version)) in reset_bug(version)
