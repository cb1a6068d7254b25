"""Which models shall be served in mode explicit: desired state, shared by all workers.

A load or unload request changes this state and nothing else; every worker follows it and says how far it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from gateway.serving.settings import ModelSettings
from gateway.serving.sources import Wish
from gateway.shared_file import SharedFile


class Load(msgspec.Struct, frozen=True):
    """A model that shall be served. ``config`` (JSON) stands in for its config.pbtxt, ``directory`` for its files."""

    config: str = ""
    directory: str = ""


class Desired(msgspec.Struct, frozen=True):
    """Everything that shall be served; ``serial`` counts the changes. ``unloaded`` were served once."""

    loads: Mapping[str, Load] = {}
    unloaded: frozenset[str] = frozenset()
    serial: int = 0

    def with_load(self, name: str, load: Load) -> Desired:
        """As this, with ``name`` served."""
        return Desired({**self.loads, name: load}, self.unloaded - {name}, self.serial + 1)

    def without(self, name: str) -> Desired:
        """As this, with ``name`` not served."""
        left = {key: load for key, load in self.loads.items() if key != name}
        gone = self.unloaded | {name} if name in self.loads else self.unloaded
        return Desired(left, gone, self.serial + 1)


def initial(names: Iterable[str]) -> Desired:
    """What is served at the start."""
    return Desired({name: Load() for name in names})


def wishes(
    desired: SharedFile[Desired], parse_json: Callable[[str], ModelSettings]
) -> Callable[[], Mapping[str, Wish]]:
    """The desired state in the words of a source. ``parse_json`` reads overrides; they were checked before."""

    def wanted() -> Mapping[str, Wish]:
        return {name: _wish(name, load, parse_json) for name, load in desired.get().loads.items()}

    return wanted


def _wish(name: str, load: Load, parse_json: Callable[[str], ModelSettings]) -> Wish:
    settings = replace(parse_json(load.config), name=name) if load.config else None
    return Wish(settings, Path(load.directory) if load.directory else None)
