"""Starts, kills and questions a storm (see ``storm.py``)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.ledger import merkle
from gateway.ledger.reader import ShardReader

Who = tuple[int, Mapping[str, str]]
"""How many producers, and their environment."""

CROWD: Who = (32, {})
LONER: Who = (1, {"STORM_QUICK_NS": str(10**12)})
"""Many at once, whose records the writer's thread commits; or one, for whom the event loop does so itself."""

STORM = Path(__file__).parent / "storm.py"


class Victim:
    """One storm. What it acknowledged goes to an unlinked file outside of the tested disk."""

    def __init__(
        self, root: Path, shard: str = "gw.0", *, producers: int = 32, env: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 - closed by ``end``
        command = [*wrapper, sys.executable, str(STORM), str(root), shard, str(producers)]
        self.process = subprocess.Popen(
            command, stdout=self._out, stderr=subprocess.PIPE, env={**os.environ, **(env or {})}, start_new_session=True
        )

    def wait_for(self, lines: int, timeout_s: float = 60.0) -> None:
        """Until it printed that many lines. Raises: TimeoutError, RuntimeError when it ended before."""
        deadline = time.monotonic() + timeout_s
        while len(self.lines()) < lines:
            if self.process.poll() is not None:
                raise RuntimeError(f"ended with {self.process.returncode}: {self.errors()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.lines())} of {lines} lines")
            time.sleep(0.01)

    def lines(self) -> list[str]:
        """Whole lines printed so far."""
        size = os.fstat(self._out.fileno()).st_size
        text = os.pread(self._out.fileno(), size, 0).decode()
        return text[: text.rfind("\n") + 1].splitlines()

    def acknowledged(self) -> dict[int, str]:
        """Leaf hash by sequence number, of everything that it was promised."""
        pairs = [line.split() for line in self.lines() if line != "!"]
        found = {int(seq): digest for seq, digest in pairs}
        assert len(found) == len(pairs), "a sequence number was promised twice"
        return found

    def errors(self) -> str:
        """What it said on standard error, once it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def kill(self) -> None:
        """kill -9, and wait."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """Kill if need be, and close."""
        if self.process.poll() is None:
            self.kill()
        if self.process.stderr is not None:
            self.process.stderr.close()
        self._out.close()


def stored(root: Path, shard: str = "gw.0", first: int = 0) -> dict[int, str]:
    """Leaf hash by sequence number, of everything on disk from ``first`` on."""
    reader, found = ShardReader(root, shard), {}
    try:
        while batch := reader.read(first + len(found), 4096):
            found |= {seq: merkle.leaf_hash(leaf).hex() for seq, leaf in batch}
    finally:
        reader.close()
    assert sorted(found) == list(range(first, first + len(found))), "the ledger is not dense"
    return found


def assert_nothing_lost(root: Path, acknowledged: Mapping[int, str], first: int = 0) -> None:
    """Every promise is on disk, at its place, with its bytes; none of them is before ``first``, which saves reading."""
    on_disk = stored(root, first=first)
    lost = {seq for seq, digest in acknowledged.items() if on_disk.get(seq) != digest}
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged records are lost or changed: {sorted(lost)[:5]}"
