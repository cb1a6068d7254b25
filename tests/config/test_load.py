"""Configuration: sources in order, and errors that say what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config import ConfigError, load
from gateway.config.keys import ALIASES, keys
from gateway.config.load import load_with_origins


def write(folder: Path, text: str) -> Path:
    file = folder / "gateway.toml"
    file.write_text(text)
    return file


def test_later_sources_win_and_the_origin_of_each_value_is_known(tmp_path: Path) -> None:
    file = write(tmp_path, 'data = "from-file"\n[server]\nport = 1\nhost = "10.0.0.1"\ngrace_s = 3\n')
    environment = {"GATEWAY_SERVER__PORT": "2", "GATEWAY_SERVER__HOST": "10.0.0.2", "HOME": "/"}

    config, origins = load_with_origins(file, {"server.port": "3"}, environment)

    assert (config.server.port, config.server.host, config.server.grace_s) == (3, "10.0.0.2", 3.0)
    assert config.data == Path("from-file")
    assert origins["server.port"] == "--port"
    assert origins["server.host"] == "GATEWAY_SERVER__HOST"
    assert origins["server.grace_s"] == str(file)
    assert origins["admin.port"] == "default"


def test_without_any_source_there_is_a_whole_tree() -> None:
    config = load(environment={})
    assert (config.server.port, config.admin.port, config.server.transport) == (8001, 8002, "h2")
    assert config.ledger.mode == "strict"
    assert config.identity.anonymous is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1\n", "unknown key 'server.prot'; the nearest known one is 'server.port'"),
        ("[sever]\nport = 1\n", "unknown key 'sever'; the nearest known one is"),
        ("[server]\nport = 70000\n", "server.port: input should be less than or equal to 65535, got 70000"),
        ("[server]\nport = [1\n", "is not valid TOML"),
        ('[server]\ntransport = "h3"\n', "one of h2, grpcio"),
        ("data = 1\n", "data:"),
    ],
)
def test_a_bad_file_is_named_with_key_value_and_what_to_write(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        load(write(tmp_path, text), environment={})


@pytest.mark.parametrize("raw", [b"\xff", b"x = " + b"9" * 5_000, b"x = " + b"[" * 3_000])
def test_what_is_no_toml_is_said(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "gateway.toml").write_bytes(raw)
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load(tmp_path / "gateway.toml", environment={})


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml", environment={})


@pytest.mark.parametrize("name", ["GATEWAY_SERVER__PROT", "GATEWAY_DATTA", "GATEWAY_SERVER_PORT"])
def test_an_unknown_variable_with_our_prefix_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown variable '{name}'; the nearest known one is 'GATEWAY_"):
        load(environment={name: "1"})


@pytest.mark.parametrize(
    "name", ["GATEWAY_SERVICE_HOST", "GATEWAY_PORT", "GATEWAY_PORT_8001_TCP_ADDR", "GATEWAY_SERVICE_PORT_GRPC"]
)
def test_what_kubernetes_sets_for_a_service_named_gateway_is_not_ours(name: str) -> None:
    assert load(environment={name: "tcp://10.0.0.1:8001"}).server.port == 8001


def test_lists_come_as_commas_in_the_environment_and_as_several_flags() -> None:
    assert load(environment={"GATEWAY_MODELS__DIRS": "a, b"}).models.dirs == (Path("a"), Path("b"))
    assert load(flags={"models.dirs": ["a", "b"]}, environment={}).models.dirs == (Path("a"), Path("b"))


def test_the_tree_cannot_be_changed() -> None:
    config = load(environment={})
    with pytest.raises(ValueError, match="frozen"):
        config.server.port = 1


def test_every_key_has_one_flag_one_variable_and_a_sentence() -> None:
    found = keys()
    assert len({key.flag for key in found}) == len(found)
    assert len({key.variable for key in found}) == len(found)
    assert [key.name for key in found if not key.help.endswith(".")] == []
    assert set(ALIASES) <= {key.name for key in found}
