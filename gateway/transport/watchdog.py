"""One clock for all calls of a worker: it finds what is late, so that no call needs a timer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Watchdog:
    """Calls ``look`` every ``every_s`` seconds on the running loop, from ``start`` to ``stop``. Not thread-safe."""

    def __init__(self, look: Callable[[], None], every_s: float) -> None:
        self._look = look
        self._every_s = every_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self.start()  # first: a look that raises must not be the last one
        self._look()
