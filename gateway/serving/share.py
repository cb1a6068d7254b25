"""A call's share of a run, for a task to wait for."""

from __future__ import annotations

import asyncio

from gateway.serving.servable import Inference


class Share(asyncio.Future[Inference]):
    """A ``Rider`` that can be awaited; cancelling it takes its call out. Must be made inside a running loop."""

    @property
    def gone(self) -> bool:
        """See ``Rider``."""
        return self.done()

    def ran(self, inference: Inference) -> None:
        """See ``Rider``."""
        self.set_result(inference)

    def failed(self, error: Exception) -> None:
        """See ``Rider``."""
        self.set_exception(error)
