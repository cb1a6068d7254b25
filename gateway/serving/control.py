"""Loading and unloading on request, in mode explicit: one change of the desired state, followed by every worker."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path

import msgspec

from gateway.errors import FailedPrecondition, InvalidInput, NothingToLoad, Unavailable
from gateway.malformed import MALFORMED
from gateway.serving.desired import Desired, Load
from gateway.serving.manager import Manager, ModelStatus
from gateway.serving.settings import ModelSettings
from gateway.serving.version_policy import State
from gateway.shared_file import SharedFile

_LOOK_S = 0.05
_UPLOAD_AGE_S = 600.0
_FILE = re.compile(r"[0-9]{1,18}(/[A-Za-z0-9_.-]{1,128}){1,8}")


class _Applied(msgspec.Struct, frozen=True):
    epoch: str
    serial: int
    failures: Mapping[str, str]


class RepositoryControl:
    """Changes what is served, and waits until all ``workers`` serve it.

    ``names`` lists what the repositories hold. ``folder`` is where workers tell how far they came, ``uploads`` takes
    files that came with a request, if ``accept_files``. For the event loop's thread.
    """

    def __init__(
        self,
        desired: SharedFile[Desired],
        manager: Manager,
        *,
        names: Callable[[], Sequence[str]],
        parse_json: Callable[[str], ModelSettings],
        folder: Path,
        index: int,
        workers: Sequence[int],
        epoch: str,
        accept_files: bool = False,
        patience_s: float = 120.0,
        clock_s: Callable[[], float],
    ) -> None:
        self._desired = desired
        self._manager = manager
        self._names = names
        self._parse_json = parse_json
        self._folder = folder
        self._index = index
        self._workers = workers
        self._epoch = epoch
        self._accept_files = accept_files
        self._patience_s = patience_s
        self._clock_s = clock_s
        self._serial = -1
        self._turn = asyncio.Lock()

    def names(self) -> Sequence[str]:
        """Every model of the repositories, loaded or not."""
        return self._names()

    def unloaded(self, name: str) -> bool:
        """Whether ``name`` was served once and was unloaded."""
        return name in self._desired.get().unloaded

    async def load(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Serve ``name`` in every worker; the old versions serve until the new ones do, and on if they fail.

        Raises: NothingToLoad, FailedPrecondition; InvalidInput when it was found but cannot be loaded; Unavailable
        when a worker did not follow in time.
        """
        now = self._desired.get().loads
        before, kept = now.get(name), {load.directory for load in now.values()}
        load = await asyncio.to_thread(self._checked, name, config, files, kept)
        changed = self._desired.change(lambda desired: desired.with_load(name, load))
        failure = await self._followed(changed.serial, name)
        if not failure:
            return
        if before is not None:  # what served before is what shall be served again

            def back(desired: Desired) -> Desired:
                return desired.with_load(name, before) if desired.serial == changed.serial else desired

            await self._followed(self._desired.change(back).serial, name)
        raise InvalidInput(f"load failed for model '{name}': {failure}")

    async def unload(self, name: str) -> None:
        """Serve ``name`` no more, in any worker. An unknown one is no error. Raises: Unavailable."""
        if name not in self._desired.get().loads:
            return
        changed = self._desired.change(lambda desired: desired.without(name))
        await self._followed(changed.serial, name)

    async def run(self) -> None:
        """Follow the desired state until cancelled."""
        while True:
            await self.follow()
            await asyncio.sleep(_LOOK_S)

    async def follow(self) -> None:
        """Do what the desired state asks now, if it has not been done, and say so."""
        async with self._turn:
            serial = self._desired.get().serial
            if serial == self._serial:
                return
            await self._manager.refresh()
            await self._manager.converged()
            while self._manager.pending():  # what is wanted again while it drains is loaded after that
                await asyncio.sleep(_LOOK_S)  # rare, and the manager has no event for it
                await self._manager.converged()
            failures: dict[str, str] = {}
            for row in self._manager.index():
                if _failed(row):
                    text = f"version {row.version} is at UNAVAILABLE state: {row.reason};"
                    failures[row.name] = f"{failures.get(row.name, '')} {text}".strip()
            self._write(_Applied(self._epoch, serial, failures))
            self._serial = serial

    async def _followed(self, serial: int, name: str) -> str:
        """Wait until every worker has come to ``serial``; why ``name`` failed in one of them, or ""."""
        await self.follow()
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    applied = [self._read(index) for index in self._workers]
                    if all(one is not None and one.serial >= serial for one in applied):
                        return next((one.failures[name] for one in applied if one and name in one.failures), "")
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            raise Unavailable(f"not every worker has followed within {self._patience_s:g} s; it will") from None

    def _checked(self, name: str, config: str | None, files: Mapping[str, bytes], kept: Set[str]) -> Load:
        """What is asked for, with its files in place; ``kept`` are directories in use.

        Raises: NothingToLoad, FailedPrecondition, InvalidInput.
        """
        refusal = f"failed to load '{name}', failed to poll from model repository"
        if config is not None:
            try:
                self._parse_json(config)
            except ValueError as error:
                raise NothingToLoad(f"{refusal}: {error}") from error
        if not files:
            if name not in self._names():
                raise NothingToLoad(refusal)
            return Load(config or "")
        if config is None:
            raise InvalidInput(f"model '{name}' came with files, but without the parameter 'config'")
        for path in files:
            if not _FILE.fullmatch(path) or ".." in path.split("/"):
                raise NothingToLoad(f"{refusal}: file '{path[:200]}' is no VERSION/NAME")
        if not self._accept_files:
            raise FailedPrecondition("model files over the protocol are not accepted; see models.accept_files")
        self._sweep(kept)
        return Load(config, str(self._place(name, files)))

    def _place(self, name: str, files: Mapping[str, bytes]) -> Path:
        """Write ``files`` under a name made from their bytes; all of them or none."""
        digest = hashlib.sha256()
        for path, data in sorted(files.items()):
            digest.update(f"{len(path)}:{path}{len(data)}:".encode() + data)
        target = self._uploads() / f"{name}.{digest.hexdigest()[:32]}"
        if target.exists():
            os.utime(target)
            return target
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        for path, data in files.items():
            (fresh / path).parent.mkdir(parents=True, exist_ok=True)
            (fresh / path).write_bytes(data)
        try:
            os.replace(fresh, target)
        except OSError:  # another worker was faster with the same bytes
            shutil.rmtree(fresh, ignore_errors=True)
        return target

    def _sweep(self, kept: Set[str]) -> None:
        """Drop files of loads that are no more desired; models were read whole when they were loaded."""
        for folder in self._uploads().iterdir():
            aged = self._clock_s() - folder.stat().st_mtime > _UPLOAD_AGE_S  # younger ones may be about to be desired
            if aged and str(folder) not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _uploads(self) -> Path:
        """This run's folder for files; those of earlier runs go."""
        folder = self._folder / "uploads"
        for old in folder.glob("*"):
            if old.name != self._epoch:
                shutil.rmtree(old, ignore_errors=True)
        current = folder / self._epoch
        current.mkdir(parents=True, exist_ok=True)
        return current

    def _write(self, applied: _Applied) -> None:
        path = self._folder / f"applied.{self._index}"
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_bytes(msgspec.json.encode(applied))
        os.replace(fresh, path)

    def _read(self, index: int) -> _Applied | None:
        try:
            applied = msgspec.json.decode((self._folder / f"applied.{index}").read_bytes(), type=_Applied)
        except (OSError, *MALFORMED):
            return None
        return applied if applied.epoch == self._epoch else None


def _failed(row: ModelStatus) -> bool:
    return row.state is State.UNAVAILABLE and row.reason != "unloaded"
