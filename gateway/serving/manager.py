"""Keeps the models that are served as the source states them, and lends them to permitted calls.

All methods are for the event loop's thread; loading happens in ``executor``. A version is loaded and tried
beside the old one, the switch is one assignment, and the old one stays until the calls that were permitted
for it are done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from gateway.errors import ModelUnavailable
from gateway.serving.lease import Lease, Slot
from gateway.serving.routes import refusal, table
from gateway.serving.servable import Loader, ModelUnloadable, Servable, Signature, Source
from gateway.serving.version_policy import (
    Snapshot,
    State,
    Verb,
    VersionPolicy,
    availability_preserving,
)
from gateway.types import ModelFacts, ModelRef, Permit, ServableId

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One row of the repository index. ``state`` is a ``State``; ``reason`` says why it is not READY, or why
    a newer load failed while this one still serves."""

    name: str
    version: str
    state: State
    reason: str = ""
    digest: str = ""


@dataclass(slots=True)
class _Model:
    """Everything known of one name."""

    slots: dict[ServableId, Slot] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None


class Manager:
    """Resolves, lends and reconciles. ``budget_bytes`` bounds the sum of the loaded models' estimates (0: no
    bound). ``linger_s`` is how long a version stays leasable after it was switched out, for calls that were
    being decided; it must exceed the time a policy decision may take."""

    def __init__(
        self,
        executor: Executor,
        *,
        policy: VersionPolicy = availability_preserving,
        budget_bytes: int = 0,
        linger_s: float = 5.0,
    ) -> None:
        self._executor = executor
        self._policy = policy
        self._budget_bytes = budget_bytes
        self._linger_s = linger_s
        self._models: dict[str, _Model] = {}
        self._routes: dict[ModelRef, ModelFacts] = {}
        self._live: dict[ServableId, Slot] = {}
        self._subscribers: list[Callable[[], None]] = []
        self._wake = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, source: Source) -> None:
        """Follow ``source``; return when everything it states now is ready or has failed."""
        source.watch(self._wake.set)
        await self._refresh(source)
        await self._settled()
        self._follower = asyncio.create_task(self._follow(source))

    async def close(self) -> None:
        """Stop following and free every model. Leases that are still out make their calls fail."""
        tasks = [task for task in (self._follower, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._routes = {}
        for slot in self._live.values():
            if slot.servable is not None:
                slot.servable.close()
        self._live = {}

    def resolve(self, ref: ModelRef) -> ModelFacts:
        """The exact version that ``ref`` means now.

        Raises: ModelNotFound, ModelUnavailable; InvalidInput for a version that is neither number nor label.
        """
        facts = self._routes.get(ref)
        if facts is not None:
            return facts
        model = self._models.get(ref.name)
        if model is None:
            raise refusal(ref, None, {})
        if ref.version.isdecimal() and ref.version != str(int(ref.version)):
            return self.resolve(ModelRef(ref.name, str(int(ref.version))))
        raise refusal(ref, [id_.version for id_ in model.slots], model.labels)

    def lease(self, permit: Permit) -> Lease:
        """Lend the version that ``permit`` names, for a ``with`` block.

        Raises: ModelUnavailable when the permit names none, or one that is gone.
        """
        id_ = permit.servable
        slot = self._live.get(id_) if id_ is not None else None
        if slot is None or slot.servable is None:
            asked = f"'{id_.name}' version {id_.version}" if id_ is not None else "none"
            raise ModelUnavailable(f"Request for unknown model: {asked} is not at ready state")
        return Lease(slot, slot.servable)

    def ready(self, ref: ModelRef) -> bool:
        """Whether ``ref`` can be served now."""
        return ref in self._routes

    def all_ready(self) -> bool:
        """Whether every version that should serve does."""
        slots = [slot for model in self._models.values() for slot in model.slots.values() if slot.aspired]
        return all(slot.state is State.READY for slot in slots)

    def signature(self, ref: ModelRef) -> Signature:
        """The signature of what ``ref`` means now. Raises: as ``resolve``."""
        return self.servable(self.resolve(ref).id).signature

    def servable(self, id_: ServableId) -> Servable:
        """A loaded version, for what can be known of it; running it needs a lease.

        Raises: ModelUnavailable.
        """
        slot = self._live.get(id_)
        if slot is None or slot.servable is None:
            raise ModelUnavailable(
                f"Request for unknown model: '{id_.name}' version {id_.version} is not at ready state"
            )
        return slot.servable

    def index(self) -> list[ModelStatus]:
        """Every version known, by name, then by number."""
        rows = [
            ModelStatus(name, slot.id.version, slot.state, slot.reason, slot.id.digest)
            for name, model in self._models.items()
            for slot in model.slots.values()
        ]
        return sorted(rows, key=lambda row: (row.name, int(row.version or 0), row.state != State.READY))

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after every change of state, on the event loop."""
        self._subscribers.append(changed)

    async def _follow(self, source: Source) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._refresh(source)

    async def _refresh(self, source: Source) -> None:
        loop = asyncio.get_running_loop()
        try:
            aspired = await loop.run_in_executor(self._executor, source.aspired)
        except Exception:
            log.exception("source.failed")
            return
        self._aspire(aspired)

    def _aspire(self, aspired: Mapping[str, Sequence[Loader]]) -> None:
        for name in aspired.keys() | self._models.keys():
            model = self._models.setdefault(name, _Model())
            wanted = {loader.id: loader for loader in aspired.get(name, ())}
            for id_, slot in model.slots.items():
                slot.aspired = id_ in wanted
            for id_, loader in wanted.items():
                if id_ not in model.slots:
                    model.slots[id_] = Slot(loader)
            self._nudge(name, model)

    def _nudge(self, name: str, model: _Model) -> None:
        if model.task is None:
            model.task = self._spawn(self._converge(name, model))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _settled(self) -> None:
        while tasks := [model.task for model in self._models.values() if model.task is not None]:
            await asyncio.gather(*tasks)

    async def _converge(self, name: str, model: _Model) -> None:
        """Take one step after another until the policy has none left."""
        try:
            while action := self._policy(
                [Snapshot(slot.id, slot.state, slot.aspired) for slot in model.slots.values()]
            ):
                slot = model.slots[action.id]
                match action.verb:
                    case Verb.LOAD:
                        await self._load(slot, model)
                    case Verb.UNLOAD:
                        self._move(slot, State.UNLOADING)
                        self._route(name, model)
                        self._spawn(self._drain(slot, model))
                    case Verb.FORGET:
                        del model.slots[slot.id]
            if not model.slots:
                del self._models[name]
        finally:
            model.task = None

    async def _load(self, slot: Slot, model: _Model) -> None:
        self._move(slot, State.LOADING)
        loop = asyncio.get_running_loop()
        try:
            self._afford(slot)
            slot.servable = await loop.run_in_executor(self._executor, slot.loader.load)
        except Exception as error:  # noqa: BLE001  whatever a loader raises is this version's reason, and its alone
            reason = str(error) if isinstance(error, ModelUnloadable) else f"{type(error).__name__}: {error}"
            log.warning("servable.failed", extra=_named(slot) | {"reason": reason})
            self._move(slot, State.UNAVAILABLE, reason)
            return
        self._live[slot.id] = slot
        self._move(slot, State.READY)
        self._route(slot.id.name, model)

    def _afford(self, slot: Slot) -> None:
        if not self._budget_bytes:
            return
        used = sum(other.loader.estimate_bytes() for other in self._live.values())
        need = slot.loader.estimate_bytes()
        if used + need > self._budget_bytes:
            raise ModelUnloadable(
                f"it may need {need} bytes, but {used} of the budget of {self._budget_bytes} are in use"
            )

    async def _drain(self, slot: Slot, model: _Model) -> None:
        """Free a version that nothing resolves to any more, after the calls that were permitted for it."""
        await asyncio.sleep(self._linger_s)
        if slot.leases:
            idle = asyncio.Event()
            slot.released = idle.set
            await idle.wait()
        del self._live[slot.id]
        if slot.servable is not None:
            slot.servable.close()
            slot.servable = None
        slot.released = None
        # Wanted again while it drained: it starts over.
        self._move(slot, State.NEW if slot.aspired else State.UNAVAILABLE, "unloaded")
        self._nudge(slot.id.name, model)

    def _route(self, name: str, model: _Model) -> None:
        """Switch: replace what ``name`` resolves to in one assignment."""
        slots = [slot for slot in model.slots.values() if slot.state is State.READY and slot.servable]
        # The wanted of two with one number wins: it is the newer content.
        slots.sort(key=lambda slot: slot.aspired)
        ready = [slot.servable.facts for slot in slots if slot.servable is not None]
        others = {ref: facts for ref, facts in self._routes.items() if ref.name != name}
        self._routes = others | table(ready, model.labels)

    def _move(self, slot: Slot, state: State, reason: str = "") -> None:
        slot.state = state
        slot.reason = reason
        log.info("servable.state", extra=_named(slot) | {"state": state.value})
        for changed in self._subscribers:
            changed()


def _named(slot: Slot) -> dict[str, str]:
    return {"model": slot.id.name, "version": slot.id.version, "digest": slot.id.digest}
