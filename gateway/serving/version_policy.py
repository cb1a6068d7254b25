"""Which step to take next for one model: a pure function from what is to what should be.

Availability first, as in TensorFlow Serving: what serves is only given up when what should replace it
serves. Applied until it answers None, it loads everything aspired, then drops everything else; what fails
to load leaves the old in place.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway.types import ServableId


class State(enum.StrEnum):
    """The life of one version. It moves down this list; UNAVAILABLE also ends a failed load. One way leads back: what
    is wanted again while it is UNLOADING is READY again, for it still holds its model."""

    NEW = "NEW"
    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version at one moment: what it is, and whether it is wanted."""

    id: ServableId
    state: State
    aspired: bool


class Verb(enum.Enum):
    """What can be done to a version. REVIVE takes one back that was being unloaded, FORGET drops one that is not
    wanted and holds nothing."""

    LOAD = "load"
    UNLOAD = "unload"
    REVIVE = "revive"
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class Action:
    """One step."""

    verb: Verb
    id: ServableId


VersionPolicy: TypeAlias = Callable[[Sequence[Snapshot]], Action | None]


def availability_preserving(versions: Sequence[Snapshot]) -> Action | None:
    """The next step for one model, None when it has come as far as it can.

    Loads go first, highest version first. Then each version that is not wanted goes, unless nothing wanted
    serves yet, or the wanted version of the same number failed to load.
    """
    for version in versions:
        if not version.aspired and version.state in (State.NEW, State.UNAVAILABLE):
            return Action(Verb.FORGET, version.id)
    wanted = [version for version in versions if version.aspired]
    for version in wanted:
        if version.state is State.UNLOADING:
            return Action(Verb.REVIVE, version.id)
    new = [version for version in wanted if version.state is State.NEW]
    if new:
        return Action(Verb.LOAD, max(new, key=lambda version: _number(version.id)).id)
    if any(version.state is State.LOADING for version in wanted):
        return None
    failed = {version.id.version for version in wanted if version.state is State.UNAVAILABLE}
    serves = any(version.state is State.READY for version in wanted)
    for version in versions:
        if version.aspired or version.state is not State.READY:
            continue
        if not wanted or (serves and version.id.version not in failed):
            return Action(Verb.UNLOAD, version.id)
    return None


def _number(id_: ServableId) -> int:
    return int(id_.version) if id_.version.isdecimal() else -1
