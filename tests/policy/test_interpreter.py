"""An engine may be forgotten on any thread and is freed on its own."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from gateway.policy.interpreter import Interpreter, RegoError

GOOD = {"p.rego": "package p\nimport rego.v1\nallow if input.a == 1"}
BAD = {"p.rego": "package p\nallow if {"}


@pytest.fixture
def complaints(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was said of objects that could not be dropped where they were."""
    said: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: said.append(str(report.exc_value)))
    gc.collect()
    gc.disable()
    yield said
    gc.enable()


def _on_another_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _forget_in_a_cycle() -> None:
    cycle: list[object] = [Interpreter(GOOD, "{}")]
    cycle.append(cycle)


def _refuse_in_a_cycle() -> None:
    """The traceback holds the frame of the constructor, and this frame holds the traceback."""
    with pytest.raises(RegoError) as refused:
        Interpreter(BAD, "{}")
    assert refused.value.__traceback__ is not None


@pytest.mark.parametrize("forget", [_forget_in_a_cycle, _refuse_in_a_cycle])
def test_an_engine_that_another_thread_collects_is_freed_by_its_own(
    forget: Callable[[], None], complaints: list[str]
) -> None:
    forget()
    _on_another_thread(gc.collect)
    Interpreter(GOOD, "{}")
    assert complaints == []


def test_an_engine_of_a_thread_that_ends_is_freed_with_it(complaints: list[str]) -> None:
    def live_and_end() -> None:
        _forget_in_a_cycle()
        _on_another_thread(gc.collect)

    _on_another_thread(live_and_end)
    assert complaints == []
