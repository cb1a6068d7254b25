"""The table that workers share: what it keeps, what it may forget, and what it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import Overloaded
from gateway.pipeline.slots import SharedSlots, SlotsError, slot_name


def opened(path: Path, **arguments: int | str) -> SharedSlots:
    slots = SharedSlots(path, **{"stripes": 4, "width": 4, **arguments})
    slots.open()
    return slots


def set_value(slots: SharedSlots, name: bytes, value: float, *, idle_from: int = 2**62) -> None:
    with slots.locked([name]):
        slots.put(slots.claim(name, 0), value, 1, idle_from)


def get_value(slots: SharedSlots, name: bytes) -> float:
    with slots.locked([name]):
        return slots.get(slots.claim(name, 0))[0]


def test_what_one_puts_all_get_and_a_restart_keeps(tmp_path: Path) -> None:
    one, other = opened(tmp_path / "s"), opened(tmp_path / "s")
    set_value(one, slot_name("a"), 7.5)
    assert get_value(other, slot_name("a")) == 7.5
    one.close()
    other.close()
    again = opened(tmp_path / "s")
    assert get_value(again, slot_name("a")) == 7.5
    again.close()


def test_another_epoch_starts_empty(tmp_path: Path) -> None:
    slots = opened(tmp_path / "s", epoch="boot-1")
    set_value(slots, slot_name("a"), 7.5)
    slots.close()
    slots = opened(tmp_path / "s", epoch="boot-2")
    assert get_value(slots, slot_name("a")) == 0
    slots.close()


def test_a_live_slot_is_never_forgotten_and_a_full_stripe_refuses(tmp_path: Path) -> None:
    slots = opened(tmp_path / "s", stripes=1)
    for n in range(4):
        set_value(slots, slot_name(str(n)), n + 1.0)
    with pytest.raises(Overloaded, match="too many"):
        get_value(slots, slot_name("one more"))
    assert [get_value(slots, slot_name(str(n))) for n in range(4)] == [1.0, 2.0, 3.0, 4.0]
    slots.close()


def test_an_idle_slot_makes_room(tmp_path: Path) -> None:
    slots = opened(tmp_path / "s", stripes=1)
    for n in range(4):
        set_value(slots, slot_name(str(n)), n + 1.0, idle_from=100 if n == 2 else 2**62)
    with slots.locked([slot_name("new")]):
        with pytest.raises(Overloaded):
            slots.claim(slot_name("new"), 99)
        assert slots.get(slots.claim(slot_name("new"), 100))[:2] == (0.0, 0)
    assert [get_value(slots, slot_name(str(n))) for n in (0, 1, 3)] == [1.0, 2.0, 4.0]
    slots.close()


def test_two_names_claimed_together_never_share_a_place(tmp_path: Path) -> None:
    slots = opened(tmp_path / "s", stripes=1, width=1)
    a, b = slot_name("a"), slot_name("b")
    set_value(slots, a, 3.0, idle_from=5)
    with slots.locked([a, b]):
        place = slots.claim(a, 10)
        with pytest.raises(Overloaded, match="too many"):
            slots.claim(b, 10)
        assert slots.get(place)[0] == 3.0
    with slots.locked([b]):
        assert slots.claim(b, 11) == place
        with pytest.raises(Overloaded, match="too many"):
            slots.claim(a, 11)
    slots.close()


def test_names_of_other_parts_are_other_names() -> None:
    parts = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"), ("a", "b", "c")]
    assert len({slot_name(*p) for p in parts}) == len(parts)


@pytest.mark.parametrize("content", [b"something else", b"GWSLOT"])
def test_a_foreign_file_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(SlotsError, match="not a file of shared counters"):
        opened(tmp_path / "s")
    assert (tmp_path / "s").read_bytes() == content


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "s").close()
    os.truncate(tmp_path / "s", 200)
    with pytest.raises(SlotsError, match="cut short"):
        opened(tmp_path / "s")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SlotsError, match="missing"):
        opened(tmp_path / "missing" / "s")


HOLD = """
import sys, time
from pathlib import Path
from gateway.pipeline.slots import SharedSlots, slot_name

slots = SharedSlots(Path(sys.argv[1]), stripes=4, width=4)
slots.open()
with slots.locked([slot_name("a")]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_stopped_holder_is_not_waited_for_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    slots = opened(tmp_path / "s")
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "s"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Overloaded, match="busy"):
            get_value(slots, slot_name("a"))
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert get_value(slots, slot_name("a")) == 0
    slots.close()
