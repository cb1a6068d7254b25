"""A bound on how long a blocking call in a thread may take."""

from __future__ import annotations

import threading
from collections.abc import Callable


class TimeLimit:
    """Calls ``stop``, from another thread, when the ``with`` block lasts longer than ``seconds``.

    ``passed`` tells whether it did.
    """

    def __init__(self, seconds: float, stop: Callable[[], None]) -> None:
        self._seconds = seconds
        self._stop = stop
        self._timer: threading.Timer | None = None
        self.passed = False

    def __enter__(self) -> TimeLimit:
        self._timer = threading.Timer(self._seconds, self._end)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self.passed = True
        self._stop()
