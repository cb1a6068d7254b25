"""Disks that fill up, fail, turn read-only or lose power: no answer unrecorded, nothing acknowledged lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.ledger import events, segment
from gateway.ledger.export import leaves
from gateway.ledger.verify import verify

from .victim import CROWD, LONER, Victim, Who, assert_nothing_lost


def need(tool: str, why: str) -> None:
    """Skip on a user's machine, fail in CI, when ``tool`` is missing."""
    if shutil.which(tool) is None or (tool in ("mount", "losetup") and os.geteuid() != 0):
        message = f"{tool} (as root, where it mounts) is needed to {why}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


@contextmanager
def mounted(where: Path, *arguments: object) -> Iterator[Path]:
    """A file system mounted at ``where``, or a skip when this machine does not let us mount."""
    need("mount", "give a test a disk of its own")
    where.mkdir(parents=True)
    done = subprocess.run(["mount", *map(str, arguments), str(where)], capture_output=True, text=True, check=False)
    if done.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail(f"cannot mount: {done.stderr}")
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def remount(where: Path, options: str) -> None:
    """Change a mounted disk under its users."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(where)], check=True)


def wait_until(victim: Victim, mark: str, since: int = 0) -> None:
    """Until a line after ``since`` is (with "!") or is not (with "+") a refusal."""
    deadline = time.monotonic() + 60
    while not any((line == "!") == (mark == "!") for line in victim.lines()[since:]):
        assert victim.process.poll() is None, victim.errors()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("who", [CROWD, LONER], ids=["crowd", "loner"])
def test_a_full_disk_is_refused_and_then_recovered_from(tmp_path: Path, who: Who) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=3m", "none") as disk:
        root = disk / "data" / "ledger"
        victim = Victim(root, producers=who[0], env=who[1])
        try:
            wait_until(victim, "!")
            full = len(victim.lines())
            time.sleep(0.5)
            remount(disk, "size=200m")
            wait_until(victim, "+", since=full)
            time.sleep(0.3)
            victim.kill()
            assert_nothing_lost(root, victim.acknowledged())
        finally:
            victim.end()
        assert verify(root).findings == []
        kinds = [events.decode(leaf).kind for leaf in leaves(root, "gw.0") if b'"kind":"recover"' in leaf[:40]]
        assert kinds
        assert len(segment.files(root / "gw.0")) > 1


def test_a_disk_too_full_to_start_on_is_one_clear_sentence(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=32k", "none") as disk:
        victim = Victim(disk / "data" / "ledger")
        try:
            assert victim.process.wait(30) == 2
            assert "the disk is full: free space, then start again" in victim.errors()
        finally:
            victim.end()


def test_a_read_only_disk_is_one_clear_sentence(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m,ro", "none") as disk:
        victim = Victim(disk / "data" / "ledger")
        try:
            assert victim.process.wait(30) == 2
            text = victim.errors()
            assert text.startswith("LedgerUnwritable: ")
            assert "Read-only file system" in text
        finally:
            victim.end()


def test_evidence_on_a_read_only_disk_verifies_with_the_log_that_a_crash_left(tmp_path: Path) -> None:
    victim = Victim(tmp_path / "data" / "ledger")
    try:
        victim.wait_for(300)
        victim.kill()
        promised = victim.acknowledged()
    finally:
        victim.end()
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=200m", "none") as disk:
        shutil.copytree(tmp_path / "data" / "ledger", disk / "ledger")
        for shared in (disk / "ledger").rglob("*-shm"):
            shared.unlink()
        assert any(log.stat().st_size for log in (disk / "ledger").rglob("*-wal"))
        remount(disk, "ro")
        assert verify(disk / "ledger").findings == []
        assert_nothing_lost(disk / "ledger", promised)


def inject(fault: str) -> list[str]:
    """A wrapper that makes system calls fail."""
    need("strace", "make system calls fail")
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={fault.split(':')[0]}", "-e", f"inject={fault}"]


@pytest.mark.parametrize("who", [CROWD, LONER], ids=["crowd", "loner"])
def test_one_failed_sync_ends_the_segment_and_not_the_shard(tmp_path: Path, who: Who) -> None:
    root = tmp_path / "data" / "ledger"
    victim = Victim(root, producers=who[0], env=who[1], wrapper=inject("fdatasync:error=EIO:when=60"))
    try:
        wait_until(victim, "!")
        refused = len(victim.lines())
        wait_until(victim, "+", since=refused)
        victim.wait_for(refused + 200)
        victim.kill()
        assert_nothing_lost(root, victim.acknowledged())
    finally:
        victim.end()
    found = verify(root)
    assert found.findings == []
    recovered = [events.decode(leaf) for leaf in leaves(root, "gw.0") if b'"kind":"recover"' in leaf[:40]]
    assert [event.reason for event in recovered] == ["OperationalError"]
    assert len(segment.files(root / "gw.0")) == 2


@pytest.mark.parametrize("who", [CROWD, LONER], ids=["crowd", "loner"])
def test_a_disk_that_goes_on_failing_acknowledges_nothing_more(tmp_path: Path, who: Who) -> None:
    root = tmp_path / "data" / "ledger"
    victim = Victim(root, producers=who[0], env=who[1], wrapper=inject("fdatasync:error=EIO:when=60+"))
    try:
        wait_until(victim, "!")
        time.sleep(0.2)
        before = len(victim.acknowledged())
        time.sleep(1.0)
        assert len(victim.acknowledged()) == before
        victim.kill()
        assert_nothing_lost(root, victim.acknowledged())
    finally:
        victim.end()


def power_loss(tmp_path: Path, name: str, weaker: str = "", who: Who = CROWD) -> int:
    """Copy a disk while it is written to, mount the copy; returns how many acknowledged records it lacks."""
    need("losetup", "copy a disk under load")
    image, copy = tmp_path / f"{name}.img", tmp_path / f"{name}-copy.img"
    with image.open("wb") as file:
        file.truncate(128 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    with mounted(tmp_path / name, "-o", "loop,commit=300", image) as disk:
        env = {**who[1], "STORM_SYNCHRONOUS": weaker} if weaker else who[1]
        victim = Victim(disk / "data" / "ledger", producers=who[0], env=env)
        try:
            victim.wait_for(3_000)
            os.killpg(victim.process.pid, signal.SIGSTOP)  # what it printed by now was promised
            promised = victim.acknowledged()
            shutil.copyfile(image, copy)
            victim.kill()
        finally:
            victim.end()
    with mounted(tmp_path / f"{name}-copy", "-o", "loop", copy) as disk:
        root = disk / "data" / "ledger"
        if weaker:
            size = verify(root).coverage[0].leaves
            return sum(seq >= size for seq in promised)
        assert_nothing_lost(root, promised)
        assert verify(root).findings == []
    return 0


@pytest.mark.chaos
def test_power_loss_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    for turn in range(5):
        assert power_loss(tmp_path, f"disk-{turn}") == 0
    for turn in range(2):
        assert power_loss(tmp_path, f"loner-{turn}", who=LONER) == 0


@pytest.mark.chaos
def test_the_power_loss_test_can_fail(tmp_path: Path) -> None:
    """With synchronous=NORMAL records are lost: the test above would see it."""
    assert max(power_loss(tmp_path, f"weak-{turn}", weaker="1") for turn in range(5)) > 0
