"""A value shared by processes: changes are seen, none is lost, an earlier run's is not believed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.shared_file import SharedFile


def shared(path: Path, epoch: str = "1") -> SharedFile[list[int]]:
    return SharedFile(path, list[int], [], epoch=epoch)


def test_a_change_is_seen_by_others(tmp_path):
    one, other = shared(tmp_path / "f"), shared(tmp_path / "f")
    assert other.get() == []
    assert one.change(lambda v: [*v, 1]) == [1]
    assert other.get() == [1]


def test_what_edit_raises_changes_nothing(tmp_path):
    file = shared(tmp_path / "f")
    file.change(lambda _: [1])
    with pytest.raises(ZeroDivisionError):
        file.change(lambda v: [v[0] // 0])
    assert file.get() == [1]


def test_another_run_starts_over(tmp_path):
    shared(tmp_path / "f").change(lambda _: [1])
    assert shared(tmp_path / "f", epoch="2").get() == []


@pytest.mark.parametrize("damage", [b"", b"{", b'{"epoch":"1","value":"text"}', b"\xff"])
def test_a_damaged_file_is_as_good_as_none(tmp_path, damage):
    (tmp_path / "f").write_bytes(damage)
    file = shared(tmp_path / "f")
    assert file.get() == []
    assert file.change(lambda v: [*v, 2]) == [2]


def test_no_change_is_lost_between_processes(tmp_path):
    script = (
        "import sys; from pathlib import Path; from gateway.shared_file import SharedFile\n"
        "f = SharedFile(Path(sys.argv[1]), list[int], [], epoch='1')\n"
        "for i in range(200): f.change(lambda v: [*v, i])"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "f")]) for _ in range(3)]
    assert [p.wait(60) for p in running] == [0, 0, 0]
    assert len(shared(tmp_path / "f").get()) == 600
