"""Model directories as a source: Triton's layout, and the bare directory that KServe mounts.

<repository>/<model>/config.pbtxt             optional
                    /<version>/model.onnx     a file, or a directory of that name with external weights
<repository>/model.onnx                       one model, version 1, named by the source
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from gateway.serving.completion import FILENAME
from gateway.serving.routes import LABEL
from gateway.serving.servable import Loader, ModelUnloadable, ModelUnservable, Servable
from gateway.serving.settings import ModelSettings, VersionPolicy
from gateway.serving.version_files import Stamp, VersionFiles
from gateway.types import ServableId

log = logging.getLogger(__name__)

CONFIG = "config.pbtxt"

Parse: TypeAlias = Callable[[str], ModelSettings]
"""Reads the text of a config.pbtxt. Raises: ValueError saying where and what is wrong."""


class MakeLoader(Protocol):
    """Makes the loader of one version; ``OnnxRuntime.loader`` is one."""

    def __call__(self, id_: ServableId, files: VersionFiles, settings: ModelSettings) -> Loader: ...


@dataclass(frozen=True, slots=True)
class Unloadable:
    """Stands for a version that the repository holds but that cannot be loaded; loading it says why."""

    id: ServableId
    reason: str
    error: type[ModelUnloadable] = ModelUnloadable

    def estimate_bytes(self) -> int:
        """Nothing will be loaded."""
        return 0

    def load(self) -> Servable:
        """Raises: ModelUnloadable, always; of the kind ``error``."""
        raise self.error(self.reason)


@dataclass(frozen=True, slots=True)
class Wish:
    """One model that shall be served: as it lies in the repository, or with other settings or another directory."""

    settings: ModelSettings | None = None
    directory: Path | None = None


class DirectorySource:
    """States what lies in ``paths``. ``parse`` reads config.pbtxt, ``make`` makes loaders. With ``poll_s`` the
    directories are looked at that often, and a change is told once it has stood still for one look.

    ``name`` is the name of a model that lies bare in a repository (default: the directory's own). ``wishes`` names
    what shall be served, in place of everything that is there.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        parse: Parse,
        make: MakeLoader,
        poll_s: float = 0.0,
        name: str = "",
        wishes: Callable[[], Mapping[str, Wish]] | None = None,
    ) -> None:
        self._paths = tuple(paths)
        self._wishes = wishes
        self._parse = parse
        self._make = make
        self._poll_s = poll_s
        self._name = name
        self._labels: dict[str, Mapping[str, str]] = {}
        self._digests: dict[Path, tuple[Stamp, str]] = {}
        self._poller: asyncio.Task[None] | None = None

    def aspired(self) -> Mapping[str, Sequence[Loader]]:
        """Every model's versions that its policy selects. Reads and digests what changed. Blocking.

        What cannot be served is stated too, as a version whose load fails with the reason.
        """
        self._labels = {}
        found = self._found()
        if self._wishes is None:
            return {name: self._aspire(name, directories, Wish()) for name, directories in found.items()}
        return {
            name: self._aspire(name, [wish.directory] if wish.directory else found[name], wish)
            for name, wish in self._wishes().items()
            if wish.directory or name in found
        }

    def names(self) -> list[str]:
        """Every model that lies in the repositories, wanted or not. Reads directories."""
        return sorted(self._found())

    def _found(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in self._paths:
            for name, directory in self._models(path):
                found.setdefault(name, []).append(directory)
        return found

    def labels(self) -> Mapping[str, Mapping[str, str]]:
        """Version labels by model, from their configurations, as of the last ``aspired``."""
        return self._labels

    def watch(self, changed: Callable[[], None]) -> None:
        """Look at the directories every ``poll_s`` seconds; nothing to do when that is 0."""
        if self._poll_s:
            self._poller = asyncio.get_running_loop().create_task(self._poll(changed))

    async def close(self) -> None:
        """Stop looking."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    async def _poll(self, changed: Callable[[], None]) -> None:
        told = seen = await asyncio.to_thread(self._fingerprint)
        while True:
            await asyncio.sleep(self._poll_s)
            now = await asyncio.to_thread(self._fingerprint)
            if now == seen and now != told:
                told = now
                changed()
            seen = now

    def _fingerprint(self) -> frozenset[tuple[str, int, int]]:
        found = set()
        for root in self._paths:
            for path in root.rglob("*"):
                try:
                    status = path.stat()
                except OSError:
                    continue
                found.add((str(path), status.st_size, status.st_mtime_ns))
        return frozenset(found)

    def _models(self, path: Path) -> list[tuple[str, Path]]:
        if not path.is_dir():
            log.warning("repository.missing", extra={"path": str(path)})
            return []
        if (path / FILENAME).exists() or (path / CONFIG).exists() or _holds_versions(path):
            return [(self._name or path.resolve().name, path)]
        children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
        return [(child.name, child) for child in children if child.is_dir()]

    def _aspire(self, name: str, directories: Sequence[Path], wish: Wish) -> Sequence[Loader]:
        try:
            if len(directories) > 1:
                places = ", ".join(map(str, directories))
                raise ModelUnloadable(f"model appears in two or more repositories: {places}")
            directory = directories[0]
            if directory != wish.directory:
                self._hold_inside(directory)
            settings = wish.settings or self._settings(name, directory)
            if settings.unsupported:
                wanted = " and ".join(settings.unsupported)
                raise ModelUnservable(f"the configuration asks for {wanted}, which is not served here")
            self._labels[name] = _labels(directory, settings)
            filename = settings.default_model_filename or FILENAME
            return [
                self._loader(name, version, VersionFiles(directory, path), settings)
                for version, path in self._selected(directory, filename, settings.version_policy)
            ]
        except (ModelUnloadable, OSError) as error:
            kind = ModelUnservable if isinstance(error, ModelUnservable) else ModelUnloadable
            return [Unloadable(ServableId(name, "", ""), str(error), kind)]

    def _hold_inside(self, directory: Path) -> None:
        real = directory.resolve()
        if not any(real.is_relative_to(path.resolve()) for path in self._paths):
            raise ModelUnloadable(f"{directory}: leads to {real}, outside the repository")

    def _settings(self, name: str, directory: Path) -> ModelSettings:
        path = directory / CONFIG
        if not path.exists():
            return ModelSettings(name=name)
        try:
            settings = self._parse(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelUnloadable(f"{path}: {error}") from error
        if settings.name not in ("", name):
            raise ModelUnloadable(f"{path}: its name is '{settings.name}', but the directory's is '{name}'")
        return settings

    def _selected(self, directory: Path, filename: str, policy: VersionPolicy) -> list[tuple[str, Path]]:
        if (directory / filename).exists():
            return [("1", directory / filename)]
        versions = _versions(directory)
        if not versions:
            raise ModelUnloadable(
                f"{directory}: no version directory (a number, such as {directory / '1'}) "
                f"and no {filename}; it has {sorted(child.name for child in directory.iterdir())}"
            )
        chosen = select(policy, versions)
        if not chosen:
            raise ModelUnloadable(f"{directory}: its version policy selects none of the versions {versions}")
        return [(str(version), directory / str(version) / filename) for version in chosen]

    def _loader(self, name: str, version: str, files: VersionFiles, settings: ModelSettings) -> Loader:
        try:
            id_ = ServableId(name, version, self._digest(files), _config_digest(settings))
            return self._make(id_, files, settings)
        except (ModelUnloadable, OSError) as error:
            return Unloadable(ServableId(name, version, ""), str(error))

    def _digest(self, files: VersionFiles) -> str:
        stamp = files.stamp()
        known = self._digests.get(files.path)
        if known is None or known[0] != stamp:
            known = self._digests[files.path] = (stamp, files.read().digest)
        return known[1]


def _config_digest(settings: ModelSettings) -> str:
    return hashlib.sha256(settings.given).hexdigest() if settings.given else ""


def select(policy: VersionPolicy, versions: Sequence[int]) -> list[int]:
    """The versions that ``policy`` serves, ascending. Pure."""
    match policy.kind:
        case "latest":
            return sorted(versions)[-max(policy.num_versions, 1) :]
        case "all":
            return sorted(versions)
        case "specific":
            return sorted(set(versions) & set(policy.versions))


def _versions(directory: Path) -> list[int]:
    """Version directories: numbers without leading zeros, all else is ignored."""
    names = [child.name for child in directory.iterdir() if child.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal() and str(int(name)) == name)


def _holds_versions(path: Path) -> bool:
    """Whether the numbers in ``path`` are versions, not models that are called by numbers."""
    return any((path / str(version) / FILENAME).exists() for version in _versions(path))


def _labels(directory: Path, settings: ModelSettings) -> Mapping[str, str]:
    for label, version in settings.version_labels.items():
        if not LABEL.fullmatch(label) or not version.isdecimal():
            raise ModelUnloadable(
                f"{directory / CONFIG}: version label '{label}' must be letters, digits and _, not only digits, "
                f"and point at a version number; it points at '{version}'"
            )
    return settings.version_labels
