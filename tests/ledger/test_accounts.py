"""Processes count their calls; the records must agree."""

from __future__ import annotations

from gateway.ledger.accounts import Accounts

BOOT, NEXT = "b" * 16, "c" * 16


def accounts(calls: int) -> Accounts:
    made = Accounts()
    made.begin(BOOT)
    for _ in range(calls):
        made.call(BOOT)
    return made


def test_what_adds_up_has_no_defect() -> None:
    assert accounts(3).counted(BOOT, {"started": 6, "shed": 1, "unrecorded": 1, "inflight": 1}) == ""
    assert accounts(3).left({"after": BOOT, "owed": 5, "unanswered": 2}) == ""


def test_a_record_that_is_missing_is_missed_by_the_count() -> None:
    assert accounts(2).counted(BOOT, {"started": 3}) == (
        "3 calls started, but 2 are recorded and 0 accounted for otherwise"
    )
    assert accounts(2).left({"after": BOOT, "owed": 5, "unanswered": 2}) == (
        "5 calls owed a record, but 2 are recorded and 2 told to be unanswered"
    )


def test_a_call_that_was_told_unavailable_does_not_count_as_recorded() -> None:
    made = accounts(3)
    made.discount(BOOT, 1)
    assert made.counted(BOOT, {"started": 3, "unrecorded": 1}) == ""


def test_nothing_is_said_of_a_process_whose_beginning_was_not_seen() -> None:
    assert accounts(0).counted(NEXT, {"started": 9}) == ""
    assert accounts(0).left({"after": NEXT, "owed": 9}) == ""


def test_the_unanswered_of_all_processes_are_added_up() -> None:
    made = accounts(1)
    made.left({"after": BOOT, "owed": 3, "unanswered": 2})
    made.left({"after": NEXT, "owed": 4, "unanswered": 4})
    assert made.unanswered == 6


def test_a_recovery_within_a_process_owes_nothing() -> None:
    made = accounts(1)
    assert made.left({"expected": 5, "unrecorded": 0}) == ""
    assert made.unanswered == 0
