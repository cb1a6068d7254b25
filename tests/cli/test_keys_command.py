"""``gateway keys``: what it prints, where, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.keys import app
from gateway.identity.key_file import key_hash


class Commands:
    """Runs ``gateway keys`` on one data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--data", str(self.data)])


@pytest.fixture
def keys(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "data")


def test_create_prints_the_key_alone_on_stdout(keys: Commands) -> None:
    result = keys("create", "--id", "app", "--tenant", "t", "--group", "a", "--group", "b", "--expires", "90d")
    assert result.exit_code == 0
    key = result.stdout.strip()
    assert key.startswith("gwk_")
    assert key not in result.stderr
    assert "shown only now" in result.stderr
    (row,) = json.loads(keys("list", "--json").stdout)
    assert (row["id"], row["tenant"], row["groups"], row["kind"]) == ("app", "t", ["a", "b"], "service")
    assert row["expires_s"] - row["created_s"] == 90 * 86_400
    assert key_hash(key) in (keys.data / "keys.json").read_text()


def test_list_shows_prefixes_and_states_but_no_key(keys: Commands) -> None:
    assert "no keys" in keys("list").stdout
    created = json.loads(keys("create", "--id", "app", "--tenant", "t", "--json").stdout)
    assert keys("revoke", created["prefix"]).exit_code == 0
    shown = keys("list")
    assert created["prefix"] in shown.stdout
    assert "revoked" in shown.stdout
    for output in (shown.stdout, keys("list", "--json").stdout):
        assert created["key"].rsplit("_", 1)[1] not in output


def test_expire_ends_a_key_later(keys: Commands) -> None:
    created = json.loads(keys("create", "--id", "app", "--tenant", "t", "--json").stdout)
    row = json.loads(keys("expire", created["prefix"], "--within", "1h", "--json").stdout)
    assert 3590 <= row["expires_s"] - created["created_s"] <= 3610
    assert row["state"] == "active"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("revoke", "deadbeef"), "no key with prefix 'deadbeef'"),
        (("create", "--id", "a b", "--tenant", "t"), "id 'a b'"),
        (("create", "--id", "a", "--tenant", "anonymous"), "reserved"),
        (("create", "--id", "a", "--tenant", "t", "--expires", "soon"), "'soon' is no duration"),
        (("create", "--id", "a", "--tenant", "t", "--expires", "0d"), "no duration"),
        (("create", "--id", "a", "--tenant", "t", "--kind", "robot"), "robot"),
    ],
)
def test_what_is_wrong_is_named_and_the_status_is_not_0(keys: Commands, arguments: tuple[str, ...], text: str) -> None:
    result = keys(*arguments)
    assert result.exit_code != 0
    assert text in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", [("revoke", "deadbeef"), ("expire", "deadbeef", "--within", "1h")])
def test_a_directory_that_is_not_there_is_not_made(keys: Commands, arguments: tuple[str, ...]) -> None:
    result = keys(*arguments)
    assert result.exit_code == 1
    assert "no key with prefix 'deadbeef'" in result.stderr
    assert not keys.data.exists()


def test_the_directory_of_the_first_key_is_open_to_its_owner_alone(keys: Commands) -> None:
    assert keys("create", "--id", "app", "--tenant", "t").exit_code == 0
    assert keys.data.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("command", ["create", "list", "revoke", "expire"])
def test_every_command_helps_with_an_example(keys: Commands, command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Example: gateway keys" in result.stdout
