"""A worker whose disk is nearly full says that it is not ready, and goes on answering."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from gateway.app.assembly import Parts
from gateway.app.report import Reporter
from gateway.ledger.space import Space
from gateway.observer import state
from gateway.observer.readiness import judge
from gateway.observer.state import PolicyState


def a_worker(folder: Path, free_blocks: list[int]) -> Reporter:
    """A reporter over parts of which only the disk is not well."""

    def statvfs(_: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 1_000_000, free_blocks[0], free_blocks[0], 0, 0, 0, 0, 255))

    manager = SimpleNamespace(waiting=dict, index=list)
    parts: Any = SimpleNamespace(
        data=SimpleNamespace(state=folder),
        ledger=SimpleNamespace(fault="", shard="gw.0", space=Space(Path("/data"), statvfs)),
        policies=SimpleNamespace(ready=True, state=lambda: PolicyState(revision="r1")),
        models=SimpleNamespace(manager=manager),
        admission=SimpleNamespace(inflight=0),
    )
    certificates: Any = SimpleNamespace(expiries=dict)
    return Reporter(cast(Parts, parts), 0, certificates=certificates, clock=lambda: 7)


async def test_it_is_not_ready_while_its_disk_is_nearly_full(tmp_path: Path) -> None:
    free = [500_000]
    reporter = a_worker(tmp_path, free)
    assert reporter.ready
    free[0] = 1_000
    assert not reporter.ready
    await reporter.step()
    said = state.read(tmp_path)
    assert (said[0].ledger.ok, said[0].ledger.free) == (True, 4_096_000)
    checks = judge(said, workers=(0,), now_us=7, lags_us={}, broken={}).checks
    assert "3 MiB left of 3906: free space" in next(check.detail for check in checks if check.name == "worker-0")
    free[0] = 500_000
    assert reporter.ready
