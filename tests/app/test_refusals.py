"""What cannot work is refused at the start, in one clear sentence."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest
from running import ROOT, command, launch, start


def refused(tmp_path: Path, *options: str, policies: Path | None = None, models: Path | None = None) -> str:
    """What a gateway says that must not start."""
    running = launch(tmp_path / "data", *options, policies=policies, models=models)
    assert running.wait() == 1
    return running.said()


def test_a_policy_with_a_syntax_error_is_named_with_file_line_and_column(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", policies)
    rego = next(path for path in policies.rglob("*.rego") if not path.name.endswith("_test.rego"))
    lines = rego.read_text().splitlines()
    lines.append("broken if {")
    rego.write_text("\n".join(lines) + "\n")

    said = refused(tmp_path, policies=policies)

    assert f"{rego.relative_to(policies)}:" in said
    assert ": parse: " in said


def test_without_a_policy_nothing_starts(tmp_path: Path) -> None:
    assert "policy" in refused(tmp_path, policies=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "policy" in refused(tmp_path, policies=tmp_path / "empty")


@pytest.mark.parametrize("missing", ["models", "policies"])
def test_a_gateway_that_finds_nothing_to_serve_leaves_no_data_behind(tmp_path: Path, missing: str) -> None:
    (tmp_path / "there" / "m").mkdir(parents=True)
    (tmp_path / "there" / "m" / "some.rego").write_text("package gateway.authz\n")
    places = {name: tmp_path / ("nowhere" if name == missing else "there") for name in ("models", "policies")}
    done = command("serve", "--data", str(tmp_path / "data"), "--models", str(places["models"]),
                   "--policies", str(places["policies"]), "--port", "0", "--admin-port", "0")  # fmt: skip
    assert done.returncode == 1
    assert f"{tmp_path / 'nowhere'} does not exist" in done.stderr
    assert f"--{missing} DIR" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"port {port} on 127.0.0.1 is in use" in refused(tmp_path, "--port", port)
        assert f"127.0.0.1:{port}" in refused(tmp_path, "--admin-port", port)


def test_a_data_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refused(tmp_path, "--data", str(tmp_path / "file"))
    assert "is not writable" in said
    assert "--data DIR" in said


def test_a_second_gateway_on_one_data_directory_is_refused(tmp_path: Path) -> None:
    first = start(tmp_path / "data")
    try:
        done = command("serve", "--data", str(tmp_path / "data"), "--models", str(ROOT / "examples/models"),
                       "--policies", str(ROOT / "policies"), "--port", "0", "--admin-port", "0")  # fmt: skip
        assert done.returncode == 1
        assert f"is in use by another gateway (process {first.process.pid})" in done.stderr
    finally:
        first.stop()


def test_a_missing_models_directory_is_named(tmp_path: Path) -> None:
    assert "models directory" in refused(tmp_path, models=tmp_path / "nowhere")


def test_an_unknown_key_or_flag_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("[server]\nprot = 1\n")
    done = command("serve", "--config", str(tmp_path / "gateway.toml"))
    assert done.returncode == 2
    assert "unknown key 'server.prot'; the nearest known one is 'server.port'" in done.stderr
    assert command("serve", "--prot", "1").returncode == 2


def test_one_unreadable_model_does_not_stop_the_others(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "examples/models/diabetes", models / "diabetes")
    (models / "cut/1").mkdir(parents=True)
    whole = (models / "diabetes/1/model.onnx").read_bytes()
    (models / "cut/1/model.onnx").write_bytes(whole[: len(whole) // 2])

    running = start(tmp_path / "data", models=models)
    try:
        status, body = running.get("/readyz?verbose")
        assert "cut" in body
        assert (status, "1 available" in body) == (200, True), body
    finally:
        assert running.stop() == 0
    assert "cut/1/model.onnx" in running.said()
