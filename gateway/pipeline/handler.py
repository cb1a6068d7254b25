"""Predictions for a task that waits; ``Pipeline.begin`` is for callers who are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeAlias

from gateway.pipeline.prediction import Caller
from gateway.types import Call, Delivery, Reply


class Stoppable(Protocol):
    """A prediction under way."""

    def cancel(self) -> object: ...


Begin: TypeAlias = Callable[[Call, Callable[[Reply], bytes], Caller], Stoppable]
"""As ``Pipeline.begin``."""


class InferenceHandler:
    """Answers by what ``begin`` begins. One per worker; concurrent calls on one event loop."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    async def __call__(self, call: Call, encode: Callable[[Reply], bytes]) -> Delivery:
        """The prediction for ``call``, permitted, run, encoded and recorded.

        Raises: GatewayError of any kind, CancelledError; the record of it is durable, except for
        LedgerUnavailable (there is none) and CancelledError (not waited for).
        """
        waiting = _Waiting()
        waiting.prediction = self._begin(call, encode, waiting)
        return await waiting


class _Waiting(asyncio.Future[Delivery]):
    """A caller that is a task. Cancelling it cancels the prediction, whose end it then waits for."""

    prediction: Stoppable

    def delivered(self, delivery: Delivery) -> None:
        if not self.done():
            self.set_result(delivery)

    def failed(self, error: BaseException) -> None:
        if self.done():
            return
        if isinstance(error, asyncio.CancelledError):
            super().cancel()
        else:
            self.set_exception(error)

    def cancel(self, msg: str | None = None) -> bool:
        """Not done before the prediction is: its record is made first."""
        if self.done():
            return False
        self.prediction.cancel()
        return True
