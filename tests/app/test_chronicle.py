"""What changed in a deployment becomes one event each, and a restart repeats none."""

from __future__ import annotations

from pathlib import Path

from gateway.app.chronicle import Chronicle, Fields
from gateway.observer.state import ModelState, PolicyState, WorkerState


class Notes:
    """Keeps events in a list, and apart from it who did them."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, object]]] = []
        self.actors: list[str] = []

    async def event(self, kind: str, *, actor: str = "", reason: str = "", fields: Fields | None = None) -> None:
        self.actors.append(actor)
        self.events.append((kind, reason, dict(fields or {})))

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.events]


def worker(folder: Path, *models: ModelState, policy: str = "p1", error: str = "") -> None:
    WorkerState(
        worker=0,
        pid=1,
        started_us=1,
        time_us=1,
        ready=True,
        models=models,
        policy=PolicyState(revision=policy, digest=policy * 2, error=error, author="key k1", checks="2 tests"),
    ).write(folder)


def ready(version: str, state: str = "READY", reason: str = "") -> ModelState:
    return ModelState(name="m", version=version, state=state, reason=reason, digest=f"sha256:{version}")


def chronicle(folder: Path, notes: Notes, **config: str) -> Chronicle:
    made = Chronicle(
        notes, states=folder, keys=folder / "keys.json", memory=folder / "memory.json", config=config or {"a": "1"}
    )
    made.open()
    return made


async def test_policies_and_models_are_written_down_once(tmp_path: Path) -> None:
    notes = Notes()
    life = chronicle(tmp_path, notes)
    worker(tmp_path, ready("1", "LOADING"))
    await life.step()
    worker(tmp_path, ready("1"))
    await life.step()
    await life.step()

    assert notes.kinds() == ["policy_loaded", "model_loaded"]
    assert notes.events[0][2] == {"at": "worker 0", "revision": "p1", "digest": "p1p1", "checks": "2 tests"}
    assert notes.events[1][2] == {"at": "worker 0", "model": "m:1", "digest": "sha256:1"}
    assert notes.actors == ["key k1", ""]

    await chronicle(tmp_path, notes).step()
    assert len(notes.events) == 2


async def test_a_refused_policy_and_a_failed_model_carry_their_reasons(tmp_path: Path) -> None:
    notes = Notes()
    life = chronicle(tmp_path, notes)
    worker(tmp_path, ready("1"))
    await life.step()
    worker(tmp_path, ready("1"), ready("2", "UNAVAILABLE", "cut short"), error="a.rego:1:1: parse: no")
    await life.step()
    worker(tmp_path, ready("2", "UNAVAILABLE", "cut short"), policy="p2")
    await life.step()

    assert [(kind, reason) for kind, reason, _ in notes.events[2:]] == [
        ("policy_refused", "a.rego:1:1: parse: no"),
        ("model_failed", "cut short"),
        ("policy_loaded", ""),
        ("model_unloaded", ""),
    ]


async def test_a_worker_that_restarts_is_no_change(tmp_path: Path) -> None:
    notes = Notes()
    life = chronicle(tmp_path, notes)
    worker(tmp_path, ready("1"))
    await life.step()
    (tmp_path / "worker-0.json").unlink()
    await life.step()
    worker(tmp_path, ready("1"))
    await life.step()
    assert notes.kinds() == ["policy_loaded", "model_loaded"]


async def test_a_changed_configuration_names_the_keys_and_never_the_values(tmp_path: Path) -> None:
    notes = Notes()
    await chronicle(tmp_path, notes, a="1", b="secret").step()
    await chronicle(tmp_path, notes, a="2", b="secret").step()
    assert notes.events == [("config_changed", "", {"keys": ["a"]})]


async def test_keys_are_written_down_by_their_public_prefix(tmp_path: Path) -> None:
    from running import command

    notes = Notes()
    life = Chronicle(
        notes, states=tmp_path, keys=tmp_path / "keys.json", memory=tmp_path / "memory.json", config={"a": "1"}
    )
    life.open()
    await life.step()
    made = command("keys", "create", "--id", "app", "--tenant", "t", "--data", str(tmp_path))
    secret = made.stdout.split()[0]
    await life.step()
    prefix = str(notes.events[0][2]["prefix"])
    assert command("keys", "revoke", prefix, "--data", str(tmp_path)).returncode == 0
    await life.step()

    assert notes.kinds() == ["keys_created", "keys_revoked"]
    assert secret not in str(notes.events)
    assert notes.events[0][2] == {"prefix": prefix, "id": "app", "tenant": "t"}
