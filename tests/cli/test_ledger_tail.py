"""``gateway ledger tail -f`` beside a shard that grows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from gateway.ledger import leaf as leaves
from gateway.ledger.record import Record
from gateway.ledger.shard import ShardLedger

T_US = 1_795_000_000_000_000


def a_call(shard: str, seq: int) -> bytes:
    given = {"tenant": "acme", "model": "credit", "outcome": "answered", "status": "OK"}
    return leaves.encode(Record(v=1, kind="call", shard=shard, seq=seq, t_us=T_US + seq, **given))  # type: ignore[arg-type]


async def test_it_prints_each_record_once_as_it_becomes_durable_and_new_shards_too(tmp_path: Path) -> None:
    """The pipe's reader goes away in the end, as ``head`` does, and nothing is said about that."""
    first = await ShardLedger.open(tmp_path / "ledger", "gw.0", boot={}, clock_us=lambda: T_US)
    await first.append(a_call)
    command = [sys.executable, "-m", "gateway", "ledger", "tail", "-f", "-n", "1", "--json", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["prediction_id"] == "gw.0/1"
            second = await ShardLedger.open(tmp_path / "ledger", "gw.1", boot={}, clock_us=lambda: T_US)
            for seq in (2, 3):
                await first.append(a_call)
                assert json.loads(process.stdout.readline())["prediction_id"] == f"gw.0/{seq}"
            await second.append(a_call)
            assert json.loads(process.stdout.readline())["prediction_id"] == "gw.1/1"
            process.stdout.close()
            await first.append(a_call)
            process.wait(30)
            assert process.stderr is not None
            assert b"Traceback" not in process.stderr.read()
        finally:
            process.kill()
    await first.close()
    await second.close()
