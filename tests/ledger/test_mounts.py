"""Network file systems are told from local ones by the innermost mount."""

from __future__ import annotations

from pathlib import Path

from gateway.ledger.mounts import network_filesystem

MOUNTS = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 21 0:40 / /mnt rw shared:2 - nfs4 server:/export rw
41 40 0:41 / /mnt/local\\040disk rw - xfs /dev/vdb rw
"""


def test_the_innermost_mount_decides(tmp_path: Path) -> None:
    info = tmp_path / "mountinfo"
    info.write_text(MOUNTS)
    assert network_filesystem(Path("/var/data"), info) == ""
    assert network_filesystem(Path("/mnt/data"), info) == "nfs4"
    assert network_filesystem(Path("/mnt/local disk/x"), info) == ""
    assert network_filesystem(Path("/mnt"), tmp_path / "absent") == ""


def test_this_machine_can_be_asked(tmp_path: Path) -> None:
    assert network_filesystem(tmp_path) == ""
