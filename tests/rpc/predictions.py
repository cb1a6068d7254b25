"""Predictions that are coroutines, begun as the pipeline's are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.pipeline.prediction import Caller
from gateway.rpc.prompt import Begin
from gateway.transport.seam import Work
from gateway.types import Call, Delivery, Reply


def begun(handler: Callable[[Call, Callable[[Reply], bytes]], Awaitable[Delivery]]) -> Begin:
    """Begins ``handler`` in a task for each call, and tells the caller how it ended."""
    tasks = set()

    def begin(call: Call, encode: Callable[[Reply], bytes], caller: Caller) -> Work:
        def end(task: asyncio.Task) -> None:
            tasks.discard(task)
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is None:
                caller.delivered(task.result())
            else:
                caller.failed(error)

        task = asyncio.ensure_future(handler(call, encode))
        tasks.add(task)
        task.add_done_callback(end)
        return task

    return begin
