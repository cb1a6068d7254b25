"""Statistics of models over all workers: each worker publishes its own in a file and adds up everybody's."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from gateway.errors import GatewayError
from gateway.malformed import MALFORMED
from gateway.serving.manager import Manager
from gateway.serving.statistics import ModelStatistics, merged
from gateway.serving.version_policy import State
from gateway.types import ModelRef

_EVERY_S = 0.2


class _Published(msgspec.Struct, frozen=True):
    epoch: str
    rows: list[ModelStatistics]


class StatisticsBoard:
    """This worker's counts are exact at any moment, those of the others at most ``_EVERY_S`` old.

    ``epoch`` names one run of the gateway. A worker that died stays counted: its file is put aside by the one that
    takes its place, so that no counter ever falls.
    """

    def __init__(
        self,
        folder: Path,
        index: int,
        *,
        epoch: str,
        models: Manager,
        clock_ns: Callable[[], int],
        clock_us: Callable[[], int],
    ) -> None:
        self._folder = folder
        self._path = folder / f"statistics.{index}"
        self._epoch = epoch
        self._models = models
        self._clock_ns = clock_ns
        self._clock_us = clock_us
        self._told: Sequence[ModelStatistics] = ()

    async def run(self) -> None:
        """Publish changes until cancelled."""
        if self._path.exists():
            os.replace(self._path, self._path.with_name(f"{self._path.name}.{os.getpid()}"))
        while True:
            self.publish()
            await asyncio.sleep(_EVERY_S)

    def publish(self) -> None:
        """Write this worker's counts, if they changed."""
        own = self._own()
        if own == self._told:
            return
        fresh = self._path.with_name(f".{self._path.name}.new")
        fresh.write_bytes(msgspec.json.encode(_Published(self._epoch, own)))
        os.replace(fresh, self._path)
        self._told = own

    def counted(self) -> list[ModelStatistics]:
        """The statistics of every version that is ready here, over all workers of this run, living and dead."""
        parts: dict[tuple[str, str], list[ModelStatistics]] = {(row.name, row.version): [row] for row in self._own()}
        for path in sorted(self._folder.glob("statistics.*")):
            if path == self._path:
                continue
            for row in self._read(path):
                if (row.name, row.version) in parts:
                    parts[row.name, row.version].append(row)
        return [merged(rows) for rows in parts.values()]

    def _own(self) -> list[ModelStatistics]:
        now_ns, now_ms = self._clock_ns(), self._clock_us() // 1000
        found = []
        for row in self._models.index():
            if row.state is not State.READY:
                continue
            try:
                id_ = self._models.resolve(ModelRef(row.name, row.version)).id
                servable = self._models.servable(id_)
            except GatewayError:  # it went while we looked
                continue
            if id_.digest == row.digest:  # of two contents under one number, the one that serves
                found.append(servable.statistics(now_ns=now_ns, now_ms=now_ms))
        return found

    def _read(self, path: Path) -> Sequence[ModelStatistics]:
        try:
            published = msgspec.json.decode(path.read_bytes(), type=_Published)
        except (OSError, *MALFORMED):
            return ()
        return published.rows if published.epoch == self._epoch else ()
