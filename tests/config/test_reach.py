"""What a change of each key takes: every key is in one class, and the documents and the schema say which."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.config import app
from gateway.config import ConfigError, load
from gateway.config.keys import keys
from gateway.config.reach import Reach, changes, reach

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


def names(kind: Reach) -> set[str]:
    return {key.name for key in keys() if reach(key.name) is kind}


def test_every_key_is_in_a_class_and_the_document_names_those_that_are_not_ordinary() -> None:
    assert names(Reach.RESTART) == {"data", "server.host", "server.port"}
    rows = {line.split("|")[1].strip(" `"): line for line in DOCS.read_text().splitlines() if line.startswith("| `")}
    assert set(rows) == {kind.value for kind in Reach}
    for kind in (Reach.RESTART, Reach.OBSERVER):
        for name in names(kind):
            assert f"`{name}`" in rows[kind.value] or f"`{name.partition('.')[0]}.*`" in rows[kind.value], name


def test_a_key_of_an_unknown_section_is_in_no_class() -> None:
    with pytest.raises(KeyError):
        reach("console.port")


def test_only_the_observer_reads_the_keys_for_which_no_worker_is_replaced() -> None:
    package = Path(__file__).parents[2] / "gateway" / "app"
    own = {"observer.py", "shadow.py", "shadow_follower.py"}
    read = "".join(path.read_text() for path in package.glob("*.py") if path.name not in own)
    assert [
        name for name in names(Reach.OBSERVER) if f"config.{name}" in read or f"keys.{name.split('.')[1]}" in read
    ] == []


def test_the_schema_says_it_of_every_key() -> None:
    tree = json.loads(CliRunner().invoke(app, ["schema"]).stdout)
    assert tree["properties"]["data"]["x-reload"] == "restart"
    assert tree["$defs"]["Policy"]["properties"]["shadow"]["x-reload"] == "observer"
    assert json.dumps(tree).count('"x-reload"') == len(keys())


def test_changes_are_named_and_what_cannot_change_is_refused_with_both_values() -> None:
    before = load(environment={})
    after = load(flags={"server.workers": "2", "telemetry.ratio": "0.5"}, environment={})
    assert changes(before, before) == []
    assert changes(before, after) == ["server.workers", "telemetry.ratio"]
    moved = load(flags={"server.port": "9000", "data": "elsewhere", "log.level": "debug"}, environment={})
    with pytest.raises(ConfigError) as refused:
        changes(before, moved)
    assert str(refused.value).splitlines() == [
        "data: it is 'data', got 'elsewhere'; restart to change it",
        "server.port: it is '8001', got '9000'; restart to change it",
    ]
