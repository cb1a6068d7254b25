"""Counters folded from beats: a boot starts at zero, a restart of anything changes no sum, nonsense counts nothing."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger import events
from gateway.observer.beats import Beats
from gateway.observer.folds import _snapshot
from gateway.observer.metrics import Metrics


def leaf(kind: str, boot: str = "b1", shard: str = "gw.0", **fields: int | str) -> bytes:
    return events.event(kind, boot=boot, t_us=1, fields=fields)(shard, 1)


def sums(beats: Beats) -> dict[str, int]:
    return {family.name: sum(family.cells.values()) for family in beats.families()}


def test_beats_are_cumulative_within_a_boot_and_begin_again_after_it() -> None:
    beats = Beats()
    for boot, started in (("b1", 3), ("b1", 10), ("b2", 4), ("b2", 4), ("b2", 6)):
        beats.apply(leaf("beat", boot, started=started, unrecorded=started // 2, commits=2))
    assert sums(beats) == {
        "gateway_started_calls": 16,
        "gateway_unrecorded_calls": 8,
        "gateway_unanswered_calls": 0,
        "gateway_ledger_commits": 10,
        "gateway_shed": 0,
    }


def test_what_a_worker_that_died_owed_completes_its_last_beat() -> None:
    beats = Beats()
    beats.apply(leaf("beat", "b1", started=10, unrecorded=2, shed=1))
    account = leaf("recover", "b2", after="b1", owed=12, recorded=9, unanswered=3)
    beats.apply(account)
    assert beats.started.cells == {(): 15}  # twelve that owed a record, two that have none, one that was shed
    assert beats.unanswered.cells == {(): 3}
    beats.apply(leaf("beat", "b2", started=4))
    assert beats.started.cells == {(): 19}
    beats.apply(leaf("recover", "b3", after="b2"))  # its count is lost
    beats.apply(leaf("recover", "b3", expected=9, unrecorded=4))  # a commit that failed
    assert beats.unanswered.cells == {(): 3}


def test_the_dump_of_an_older_version_goes_on() -> None:
    beats = Beats()
    beats.load([(("gw.0", "b1"), [10, 2])])
    beats.apply(leaf("beat", "b1", started=11, unrecorded=2))
    assert beats.started.cells == {(): 1}


def test_floods_are_counted_by_reason() -> None:
    beats = Beats()
    beats.apply(leaf("shed", reason="unauthenticated", network="10.0.0.0/24", count=30))
    beats.apply(leaf("shed", reason="unauthenticated", network="10.0.1.0/24", count=4))
    assert beats.shed.cells == {("unauthenticated",): 34}


def test_what_is_no_event_or_tells_nonsense_counts_nothing() -> None:
    beats = Beats()
    for each in (b"{", b'{"kind":"beat","shard":"s","seq":1,"fields":{"started":1.5}}', leaf("beat", started="many")):
        beats.apply(each)
    beats.apply(leaf("beat", started=-4))
    assert sum(sums(beats).values()) == 0


beat = st.tuples(st.sampled_from(["gw.0", "gw.1"]), st.integers(0, 20))


@given(st.lists(beat, max_size=30), st.integers(0, 30))
def test_a_restart_of_the_observer_between_two_beats_changes_no_sum(told: list[tuple[str, int]], cut: int) -> None:
    once, first, second = Metrics(), Metrics(), Metrics()
    leaves = [leaf("beat", f"b{n // 10}", shard, started=n % 10 * value) for n, (shard, value) in enumerate(told)]
    for each in leaves:
        once.beats.apply(each)
    for each in leaves[:cut]:
        first.beats.apply(each)
    second.load(_snapshot.decode(msgspec.json.encode(first.dump())))
    for each in leaves[cut:]:
        second.beats.apply(each)
    assert sums(second.beats) == sums(once.beats)
