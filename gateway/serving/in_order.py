"""Answers in the order in which their calls came, for models whose configuration says ``preserve_ordering``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Call = TypeVar("Call", bound=Hashable)


class InOrder(Generic[Call]):
    """Holds back what ends before those that came earlier. For one event loop."""

    def __init__(self) -> None:
        self._line: deque[Call] = deque()
        self._ended: dict[Call, Callable[[], None]] = {}

    def joined(self, call: Call) -> None:
        """``call`` came."""
        self._line.append(call)

    def ended(self, call: Call, tell: Callable[[], None]) -> None:
        """``call`` ended: ``tell`` is called once all that came before it have ended too."""
        self._ended[call] = tell
        while self._line and (first := self._ended.pop(self._line[0], None)):
            self._line.popleft()
            first()
