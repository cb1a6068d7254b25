"""The catalog of models that a worker goes by, followed while it serves."""

from __future__ import annotations

import logging
from pathlib import Path

from gateway.app.failure import StartupError
from gateway.config.tree import Models as ModelKeys
from gateway.pipeline.catalog import Catalog, CatalogError, CatalogModels, read_catalog, read_signers
from gateway.pipeline.enforcement import Resolver
from gateway.policy.reloader import Fingerprint, fingerprint

_log = logging.getLogger("gateway.models")


class CatalogFile:
    """Keeps what is known of models on the files that the configuration names; without one nothing is known.

    A file that cannot be read leaves the last good one in force. For one event loop.
    """

    def __init__(self, keys: ModelKeys) -> None:
        self._path = keys.catalog
        self._signers = keys.signers
        self._models: CatalogModels | None = None
        self._seen: list[Fingerprint] = []

    def over(self, models: Resolver) -> Resolver:
        """``models``, with what the catalog says of them. Raises: StartupError when it cannot be used."""
        if self._path is None:
            return models
        try:
            self._seen = self._look()
            self._models = CatalogModels(models, self._read(self._path))
        except CatalogError as error:
            raise StartupError(f"models.catalog: {error}") from error
        return self._models

    async def follow(self) -> None:
        """Take what changed."""
        if self._path is None or self._models is None or self._look() == self._seen:
            return
        self._seen = self._look()
        try:
            self._models.replace(self._read(self._path))
        except CatalogError as error:
            _log.error("catalog.refused", extra={"cause": str(error)})  # a finding, no trace
        else:
            _log.info("catalog.loaded", extra={"path": str(self._path)})

    def _look(self) -> list[Fingerprint]:
        return [fingerprint(path) for path in (self._path, self._signers) if path is not None]

    def _read(self, path: Path) -> Catalog:
        """Raises: CatalogError."""
        return Catalog(read_catalog(path), read_signers(self._signers) if self._signers is not None else None)
