"""A model that kills its loader is refused after some deaths; those that died beside it clear themselves."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from serving_graphs import scale

from gateway.serving.load_journal import DEATHS, LoadJournal
from gateway.serving.servable import ModelUnloadable

BAD, GOOD = "sha256:bad", "sha256:good"

DYING = """
import os, signal, sys
from contextlib import ExitStack
from pathlib import Path
from gateway.serving.load_journal import LoadJournal
journal = LoadJournal(Path(sys.argv[1]), "0")
with ExitStack() as loads:
    for digest in sys.argv[2:]:
        loads.enter_context(journal.loading(digest))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def die(folder: Path, *digests: str) -> int:
    """A worker that is killed while it loads ``digests``."""
    return subprocess.run([sys.executable, "-c", DYING, str(folder), *digests], check=False).returncode


def test_a_load_that_ends_leaves_nothing(tmp_path: Path) -> None:
    journal = LoadJournal(tmp_path / "loading", "0")
    with journal.loading(GOOD):
        assert len(list((tmp_path / "loading").iterdir())) == 1
    with pytest.raises(ModelUnloadable, match="broken"), journal.loading(GOOD):
        raise ModelUnloadable("broken")
    assert list((tmp_path / "loading").iterdir()) == []


def test_too_many_deaths_refuse_the_model_and_name_the_mark(tmp_path: Path) -> None:
    assert [die(tmp_path, BAD) for _ in range(DEATHS)] == [-9] * DEATHS
    journal = LoadJournal(tmp_path, "0")
    with pytest.raises(ModelUnloadable, match=f"died {DEATHS} times while it loaded") as caught, journal.loading(BAD):
        raise AssertionError("it was loaded")
    mark = tmp_path / "bad.0"
    assert str(mark) in str(caught.value)
    mark.unlink()
    with journal.loading(BAD):
        pass


def test_one_that_died_beside_it_clears_itself(tmp_path: Path) -> None:
    die(tmp_path, GOOD, BAD)
    with LoadJournal(tmp_path, "0").loading(GOOD):
        pass
    for _ in range(DEATHS - 1):
        die(tmp_path, BAD)
    journal = LoadJournal(tmp_path, "0")
    with journal.loading(GOOD):
        pass
    with pytest.raises(ModelUnloadable), journal.loading(BAD):
        pass


def test_suspects_are_loaded_one_after_another(tmp_path: Path) -> None:
    die(tmp_path, GOOD, BAD)
    journal = LoadJournal(tmp_path, "0")
    entered = threading.Event()

    def other() -> None:
        with journal.loading(BAD):
            entered.set()

    with journal.loading(GOOD):
        thread = threading.Thread(target=other)
        thread.start()
        assert not entered.wait(0.05)
    thread.join()
    assert entered.is_set()


def test_workers_do_not_share_deaths(tmp_path: Path) -> None:
    for _ in range(DEATHS):
        die(tmp_path, BAD)
    with LoadJournal(tmp_path, "1").loading(BAD):
        pass


def test_a_loader_uses_its_journal(load, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    journal = LoadJournal(tmp_path / "loading", "0")
    servable = load(scale(2), journal=journal)
    for _ in range(DEATHS):
        die(tmp_path / "loading", servable.id.digest)
    with pytest.raises(ModelUnloadable, match=r"model\.onnx: the worker died"):
        load(scale(2), journal=journal)
