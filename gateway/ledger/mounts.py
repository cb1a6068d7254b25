"""Where a directory lies: SQLite's WAL needs shared memory, which network file systems do not give."""

from __future__ import annotations

from pathlib import Path

_NETWORK = frozenset(
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.s3fs", "fuse.glusterfs"]
)


def network_filesystem(directory: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the network file system that holds ``directory``, or "" for a local one or where unknown."""
    try:
        lines = mountinfo.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    target, best, kind = directory.resolve(), -1, ""
    for line in lines:
        left, _, right = line.partition(" - ")
        point = Path(left.split()[4].replace("\\040", " "))
        if target.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split()[0]
    return kind if kind in _NETWORK else ""
