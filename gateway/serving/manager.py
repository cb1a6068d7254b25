"""Keeps the models that are served as the source states them, and lends them to permitted calls.

A version is loaded and tried beside the old one, the switch is one assignment, and the old one stays until
the calls that were permitted for it are done.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Executor

from gateway.serving.lease import Slot
from gateway.serving.roster import ModelStatus as ModelStatus
from gateway.serving.roster import Roster
from gateway.serving.servable import ModelUnloadable, ModelUnservable, Servable, Signature, Source
from gateway.serving.statistics import ModelStatistics
from gateway.serving.version_policy import State, Verb, VersionPolicy, availability_preserving
from gateway.types import ModelFacts, ModelRef, Permit, ServableId

log = logging.getLogger(__name__)

UNLOADED = "unloaded"
"""The reason of a version that was let go, as Triton's index says it."""


class Manager:
    """Resolves, lends and reconciles. All methods are for the event loop's thread; loads run in ``executor``.

    ``budget_bytes`` bounds the sum of the loaded models' estimates (0: no bound). ``linger_s`` is how long a
    version can still be leased after it was switched out, by calls that were being decided at that moment; it
    must exceed the time that a policy decision may take. ``sleep`` is what it lingers with.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        policy: VersionPolicy = availability_preserving,
        budget_bytes: int = 0,
        linger_s: float = 5.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._executor = executor
        self._policy = policy
        self._budget_bytes = budget_bytes
        self._linger_s = linger_s
        self._sleep = sleep
        self._roster = Roster()
        self._source: Source | None = None
        self._wake = asyncio.Event()
        self._asking = asyncio.Lock()
        self._converging: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, source: Source) -> None:
        """Follow ``source``; return when everything that it states now is ready or has failed.

        Raises: whatever ``source`` raises when it is asked for the first time.
        """
        self._source = source
        source.watch(self._wake.set)
        await self.refresh()
        await self.converged()
        self._spawn(self._follow())

    async def close(self) -> None:
        """Stop following and free every model. Call it when no lease is out."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for slot in self._roster.loaded():
            self._free(slot, State.UNAVAILABLE)

    def resolve(self, ref: ModelRef) -> ModelFacts:
        """The exact version that ``ref`` means now.

        Raises: ModelNotFound, ModelUnavailable; InvalidInput for a version that is neither number nor label.
        """
        return self._roster.resolve(ref)

    def lease(self, permit: Permit) -> Slot:
        """The version that ``permit`` names, to lend: it stays loaded in a ``with`` block, or until it is given back.

        Raises: ModelUnavailable when the permit names none, or one that is gone.
        """
        slot = self._roster.live(permit.servable)
        slot.loaded()
        return slot

    def servable(self, id_: ServableId) -> Servable:
        """A loaded version, for what can be known of it; running it takes a lease. Raises: ModelUnavailable."""
        return self._roster.live(id_).loaded()

    def signature(self, ref: ModelRef) -> Signature:
        """The signature of what ``ref`` means now. Raises: as ``resolve``."""
        return self.servable(self.resolve(ref).id).signature

    def ready(self, ref: ModelRef) -> bool:
        """Whether ``ref`` can be served now."""
        return self._roster.ready(ref)

    def all_ready(self) -> bool:
        """Whether every version that should serve does."""
        return self._roster.all_ready()

    def pending(self) -> bool:
        """Whether some version that should serve neither does nor has failed: it loads, or still drains."""
        return self._roster.pending()

    def index(self) -> list[ModelStatus]:
        """Every version known, by name, then by number."""
        return self._roster.index()

    def statistics(self, *, now_ns: int, now_ms: int) -> list[ModelStatistics]:
        """What every version that is ready counted in this process since it was loaded."""
        slots = [slot for slot in self._roster.loaded() if slot.state is State.READY]
        return [slot.loaded().statistics(now_ns=now_ns, now_ms=now_ms) for slot in slots]

    def waiting(self) -> Mapping[tuple[str, str], int]:
        """Calls that wait for a run, by name and version."""
        calls: Counter[tuple[str, str]] = Counter()
        for slot in self._roster.loaded():
            calls[slot.id.name, slot.id.version] += slot.loaded().waiting()
        return calls

    def in_threads(self) -> int:
        """Calls that run beside the event loop, or wait to."""
        return sum([slot.loaded().in_threads() for slot in self._roster.loaded()])

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after every change of state, on the event loop."""
        self._roster.subscribe(changed)

    async def refresh(self) -> None:
        """Ask the source now, and start what its answer needs. Raises: whatever the source raises."""
        if self._source is None:
            return
        loop = asyncio.get_running_loop()
        async with self._asking:  # a source is asked by one at a time, and the last answer is the newest
            aspired = await loop.run_in_executor(self._executor, self._source.aspired)
            names = self._roster.aspire(aspired)
            self._roster.label(self._source.labels())
        for name in names:
            self._nudge(name)

    async def converged(self, name: str = "") -> None:
        """Return when the model ``name``, or every model, has come as far as it can."""
        while tasks := [task for key, task in self._converging.items() if name in ("", key)]:
            await asyncio.wait(tasks)

    async def _follow(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.refresh()
            except Exception:
                log.exception("source.failed")

    def _nudge(self, name: str) -> None:
        if name not in self._converging:
            self._converging[name] = self._spawn(self._converge(name))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _converge(self, name: str) -> None:
        """Take one step after another until the policy has none left."""
        try:
            while action := self._policy(self._roster.snapshots(name)):
                slot = self._roster.slot(action.id)
                match action.verb:
                    case Verb.LOAD:
                        await self._load(slot)
                    case Verb.UNLOAD:
                        self._move(slot, State.UNLOADING)
                        slot.departures += 1
                        self._spawn(self._drain(slot, slot.departures))
                    case Verb.REVIVE:
                        self._move(slot, State.READY)
                    case Verb.FORGET:
                        self._roster.forget(slot.id)
        finally:
            del self._converging[name]

    async def _load(self, slot: Slot) -> None:
        self._move(slot, State.LOADING)
        loop = asyncio.get_running_loop()
        try:
            estimate = await loop.run_in_executor(self._executor, slot.loader.estimate_bytes)
            self._afford(slot, estimate)
            slot.servable = await loop.run_in_executor(self._executor, slot.loader.load)
        except Exception as error:  # noqa: BLE001  whatever a loader raises is the reason of its version alone
            slot.reserved_bytes = 0
            slot.unserved = isinstance(error, ModelUnservable)
            expected = isinstance(error, ModelUnloadable)
            self._move(slot, State.UNAVAILABLE, str(error) if expected else f"{type(error).__name__}: {error}")
        else:
            self._move(slot, State.READY)

    def _afford(self, slot: Slot, estimate: int) -> None:
        """Reserve memory for a load; no await lies between the check and the reservation."""
        used = self._roster.reserved_bytes()
        slot.starved = bool(self._budget_bytes) and used + estimate > self._budget_bytes
        if slot.starved:
            raise ModelUnloadable(
                f"it may need {estimate} bytes, but {used} of the budget of {self._budget_bytes} are in use"
            )
        slot.reserved_bytes = estimate

    async def _drain(self, slot: Slot, departure: int) -> None:
        """Free a version that nothing resolves to any more, after the calls that were permitted for it; unless it was
        wanted again meanwhile."""
        await self._sleep(self._linger_s)
        while slot.leases:
            await slot.idle().wait()
        if slot.state is not State.UNLOADING or slot.departures != departure or slot.aspired:
            return
        self._free(slot, State.UNAVAILABLE)
        for starved in self._roster.starved():
            self._move(starved, State.NEW)
            self._nudge(starved.id.name)
        self._nudge(slot.id.name)

    def _free(self, slot: Slot, state: State) -> None:
        servable, slot.servable, slot.reserved_bytes = slot.servable, None, 0
        self._move(slot, state, UNLOADED)
        if servable is not None:
            servable.close()

    def _move(self, slot: Slot, state: State, reason: str = "") -> None:
        self._roster.move(slot, state, reason)
        level = logging.WARNING if state is State.UNAVAILABLE and reason != UNLOADED else logging.INFO
        about = {"model": slot.id.name, "version": slot.id.version, "digest": slot.id.digest}
        log.log(level, "servable.%s", state.value.lower(), extra=about | {"reason": reason})
