"""Fakes with behaviour: loaders that wait to be finished, servables that know when they are closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

from gateway.serving.servable import Inference, Loader, ModelUnloadable, ValidTensors
from gateway.serving.signature import ModelSignature
from gateway.serving.statistics import ModelStatistics
from gateway.types import Decision, ModelFacts, Permit, ServableId


def permit(id_: ServableId) -> Permit:
    return Permit(id_, Decision(id="d", allow=True, servable=id_))


class FakeServable:
    """Answers nothing; remembers whether it was closed, and refuses to run after that."""

    def __init__(self, id_: ServableId) -> None:
        self.id = id_
        self.facts = ModelFacts(id=id_)
        self.signature = ModelSignature(id_.name, [], [])
        self.closed = False

    async def infer(
        self, inputs: ValidTensors, *, deadline_ns: int | None = None, parameters: object = None
    ) -> Inference:
        assert not self.closed
        return Inference(outputs=(), started_ns=0)

    def statistics(self, *, now_ns: int, now_ms: int) -> ModelStatistics:
        return ModelStatistics(name=self.id.name, version=self.id.version)

    def waiting(self) -> int:
        return 0

    def in_threads(self) -> int:
        return 0

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class FakeLoader:
    """Loads a ``FakeServable``, or fails."""

    def __init__(self, id_: ServableId, *, fails: bool = False, size: int = 1) -> None:
        self.id = id_
        self.fails = fails
        self.size = size
        self.loaded: FakeServable | None = None

    def estimate_bytes(self) -> int:
        return self.size

    def load(self) -> FakeServable:
        if self.fails:
            raise ModelUnloadable(f"{self.id.name}:{self.id.version}: cut short")
        self.loaded = FakeServable(self.id)
        return self.loaded


class FakeSource:
    """States what the test sets."""

    def __init__(self) -> None:
        self.desired: Mapping[str, Sequence[Loader]] = {}
        self.named: Mapping[str, Mapping[str, str]] = {}
        self.changed: Callable[[], None] = lambda: None

    def aspired(self) -> Mapping[str, Sequence[Loader]]:
        return self.desired

    def labels(self) -> Mapping[str, Mapping[str, str]]:
        return self.named

    def watch(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def state(self, *loaders: Loader) -> None:
        """Want exactly these, and say so."""
        names = {loader.id.name for loader in loaders}
        self.desired = {name: [loader for loader in loaders if loader.id.name == name] for name in names}
        self.changed()


class PatientExecutor(Executor):
    """Runs loads only when told to; everything else at once."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if fn.__name__ == "load":
            self.waiting.append((future, fn))
        else:
            future.set_result(fn(*args, **kwargs))
        return future

    def finish(self, index: int = 0) -> None:
        """Let one waiting load happen."""
        future, fn = self.waiting.pop(index)
        try:
            future.set_result(fn())
        except Exception as error:
            future.set_exception(error)


class PatientSleep:
    """A sleep that lasts until the test ends it."""

    def __init__(self) -> None:
        self.sleeping: list[asyncio.Future[None]] = []

    async def __call__(self, _seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleeping.append(future)
        await future

    def wake(self) -> None:
        """End every sleep."""
        for future in self.sleeping:
            if not future.done():
                future.set_result(None)
        self.sleeping.clear()


async def settle() -> None:
    """Let every task run as far as it can without anything from outside."""
    for _ in range(30):
        await asyncio.sleep(0)
