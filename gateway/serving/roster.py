"""What is known of every model at this moment. No waiting and no tasks: the manager moves it, calls read it.

For one thread, the event loop's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.errors import ModelUnavailable
from gateway.serving.lease import Slot
from gateway.serving.routes import refusal, table
from gateway.serving.servable import Loader
from gateway.serving.version_policy import Snapshot, State
from gateway.types import ModelFacts, ModelRef, ServableId


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One row of the repository index. ``reason`` says why a version is not READY, or why what should replace
    it could not be loaded."""

    name: str
    version: str
    state: State
    reason: str = ""
    digest: str = ""


@dataclass(slots=True)
class _Model:
    slots: dict[ServableId, Slot] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    standing: Mapping[str, str] = field(default_factory=dict)  # where each label really points


class Roster:
    """Models, their versions, and the table by which they are found."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}
        self._routes: dict[ModelRef, ModelFacts] = {}
        self._live: dict[ServableId, Slot] = {}
        self._subscribers: list[Callable[[], None]] = []

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
        unserved = next((slot.reason for slot in model.slots.values() if slot.unserved), "")
        raise refusal(ref, [id_.version for id_ in model.slots], model.labels, unserved)

    def ready(self, ref: ModelRef) -> bool:
        """Whether ``ref`` can be served now."""
        return ref in self._routes

    def live(self, id_: ServableId | None) -> Slot:
        """The slot of a loaded version. Raises: ModelUnavailable when there is none."""
        slot = self._live.get(id_) if id_ is not None else None
        if slot is None:
            asked = f"'{id_.name}' version {id_.version}" if id_ is not None else "no model"
            raise ModelUnavailable(f"Request for unknown model: {asked} is not at ready state")
        return slot

    def loaded(self) -> Sequence[Slot]:
        """Every version in memory, draining ones too."""
        return list(self._live.values())

    def reserved_bytes(self) -> int:
        """What all versions that are loaded, or being loaded, may take."""
        return sum(slot.reserved_bytes for model in self._models.values() for slot in model.slots.values())

    def starved(self) -> Sequence[Slot]:
        """Versions whose load failed for want of memory."""
        slots = [slot for model in self._models.values() for slot in model.slots.values()]
        return [slot for slot in slots if slot.state is State.UNAVAILABLE and slot.starved and slot.aspired]

    def all_ready(self) -> bool:
        """Whether every version that should serve does."""
        slots = [slot for model in self._models.values() for slot in model.slots.values() if slot.aspired]
        return all(slot.state is State.READY for slot in slots)

    def pending(self) -> bool:
        """Whether some version that should serve neither does nor has failed: it loads, or still drains."""
        slots = [slot for model in self._models.values() for slot in model.slots.values() if slot.aspired]
        return any(slot.state in (State.NEW, State.LOADING, State.UNLOADING) for slot in slots)

    def index(self) -> list[ModelStatus]:
        """Every version known, by name, then by number; the one that serves before one that replaces it."""
        rows = [
            ModelStatus(name, slot.id.version, slot.state, slot.reason, slot.id.digest)
            for name, model in self._models.items()
            for slot in model.slots.values()
        ]
        return sorted(rows, key=lambda row: (row.name, int(row.version or 0), row.state is not State.READY))

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` after every change of state."""
        self._subscribers.append(changed)

    def aspire(self, aspired: Mapping[str, Sequence[Loader]]) -> list[str]:
        """Take note of what should be served; the names that may need work."""
        names = sorted(aspired.keys() | self._models.keys())
        for name in names:
            model = self._models.setdefault(name, _Model())
            wanted = {loader.id: loader for loader in aspired.get(name, ())}
            for id_, slot in list(model.slots.items()):
                if id_ in wanted and not slot.aspired and slot.state is State.UNAVAILABLE:
                    del model.slots[id_]  # it was let go and holds nothing: wanted again, it begins anew
                else:
                    slot.aspired = id_ in wanted
            for id_, loader in wanted.items():
                if id_ not in model.slots:
                    model.slots[id_] = Slot(loader)
        return names

    def label(self, labels: Mapping[str, Mapping[str, str]]) -> None:
        """Let these (by model: label to version) be the only other names of versions.

        A label moves once the version that it should point at is ready; until then it stays where it was.
        """
        for name, model in self._models.items():
            model.labels = dict(labels.get(name, {}))
            self._route(name)

    def snapshots(self, name: str) -> list[Snapshot]:
        """What the version policy needs to know of one model."""
        model = self._models.get(name, _Model())
        return [Snapshot(slot.id, slot.state, slot.aspired) for slot in model.slots.values()]

    def slot(self, id_: ServableId) -> Slot:
        """A known version."""
        return self._models[id_.name].slots[id_]

    def forget(self, id_: ServableId) -> None:
        """Drop a version that holds nothing, and its model when it was the last."""
        model = self._models[id_.name]
        del model.slots[id_]
        if not model.slots:
            del self._models[id_.name]

    def move(self, slot: Slot, state: State, reason: str = "") -> None:
        """Change a version's state, switch what its name resolves to in one assignment, tell the subscribers.

        What is READY can be leased; what is UNLOADING still can, by calls that resolved it before.
        """
        slot.state, slot.reason = state, reason
        if slot.servable is None:
            self._live.pop(slot.id, None)
        else:
            self._live[slot.id] = slot
        self._route(slot.id.name)
        for changed in self._subscribers:
            changed()

    def _route(self, name: str) -> None:
        model = self._models[name]
        slots = [slot for slot in model.slots.values() if slot.state is State.READY]
        # Of two contents under one number, the wanted one is the newer: it comes last and wins.
        slots.sort(key=lambda slot: slot.aspired)
        ready = [slot.servable.facts for slot in slots if slot.servable is not None]
        versions = {facts.id.version for facts in ready}
        model.standing = {
            label: wanted if wanted in versions else model.standing.get(label, wanted)
            for label, wanted in model.labels.items()
        }
        others = {ref: facts for ref, facts in self._routes.items() if ref.name != name}
        self._routes = others | table(ready, model.standing)
