"""Which models were being loaded when this worker died: one that kills its loader must not kill it for ever.

onnxruntime parses and runs a model's graph in the worker itself. A model that crashes it, or makes the machine kill
it for want of memory, would take every restarted worker down again, and all other models with it. So each load
leaves a mark while it lasts. A mark that is found at the next load of the same bytes is a death; after ``DEATHS`` of
them the model is refused, with the mark's path.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.serving.servable import ModelUnloadable

DEATHS = 3


class LoadJournal:
    """Marks of one worker in ``folder``; ``worker`` keeps those of different workers apart. Thread-safe.

    Models that are suspected, for they were being loaded at a death, are loaded one after another: then the next
    death has one suspect, and the innocent ones clear themselves.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        self._worker = worker
        self._suspects = threading.Lock()

    @contextmanager
    def loading(self, digest: str) -> Iterator[None]:
        """Mark the bytes ``digest`` as being loaded, for the length of the block. Blocking.

        Raises: ModelUnloadable when they were being loaded at too many deaths.
        """
        path = self._folder / f"{digest.removeprefix('sha256:')}.{self._worker}"
        if not path.exists():
            with self._marked(path, 0):
                yield
            return
        with self._suspects:
            deaths = _deaths(path)
            if deaths >= DEATHS:
                raise ModelUnloadable(
                    f"the worker died {deaths} times while it loaded these bytes; remove {path} to try again"
                )
            with self._marked(path, deaths):
                yield

    @contextmanager
    def _marked(self, path: Path, deaths: int) -> Iterator[None]:
        # The mark is the number of deaths if this load is one; a load that ends, well or badly, takes it away.
        self._folder.mkdir(parents=True, exist_ok=True)
        path.write_text(str(deaths + 1))
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _deaths(path: Path) -> int:
    try:
        return int(path.read_text() or 1)
    except (OSError, ValueError):
        return 1
