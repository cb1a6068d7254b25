"""``gateway policy``: exit status, places, and what is printed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.policy import app
from gateway.policy.bundle import Bundle
from gateway.policy.files import read_directory
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.revisions import Revisions

SHIPPED = Path(__file__).parents[2] / "policies"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED, tmp_path / "policies")
    return tmp_path / "policies"


def test_the_shipped_policies_check_and_test() -> None:
    checked = run("check", SHIPPED)
    assert checked.exit_code == 0, checked.output
    assert "3 modules" in checked.output
    assert "not run: gateway/authz/authz_test.rego, canaries.json; a gateway refuses" in checked.output
    not_run = json.loads(run("check", SHIPPED, "--json").output)["not_run"]
    assert not_run == ["gateway/authz/authz_test.rego", "canaries.json"]
    tested = run("test", SHIPPED, "--min-coverage", 100)
    assert tested.exit_code == 0, tested.output
    assert "24 tests, 0 failed, 100.0 %" in tested.output
    assert "canaries, 0 failed" in tested.output


def test_a_finding_has_file_line_and_column(policies: Path) -> None:
    file = policies / "gateway" / "authz" / "extra.rego"
    file.write_text("package gateway.authz\n\np if {\n\tinput.modle.name\n}\n")
    checked = run("check", policies)
    assert checked.exit_code == 1
    assert f"{policies}/gateway/authz/extra.rego:4:2: unknown-input-path: " in checked.output
    found = json.loads(run("check", policies, "--json").output)["findings"]
    assert [(f["line"], f["col"], f["code"]) for f in found] == [(4, 2, "unknown-input-path")]


def test_a_failing_test_fails(policies: Path) -> None:
    file = policies / "gateway" / "authz" / "more_test.rego"
    file.write_text('package more_test\n\ntest_wrong if {\n\tprint("hello")\n\t1 == 2\n}\n')
    tested = run("test", policies)
    assert tested.exit_code == 1
    assert f"FAIL more_test.test_wrong ({file}:3)" in tested.output
    assert "25 tests, 1 failed" in tested.output


def test_a_failing_canary_fails_with_its_line(policies: Path) -> None:
    file = policies / "canaries.json"
    lines = file.read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if '"metadata for the authenticated"' in text)
    place = next(n for n in range(line, len(lines)) if '"allow": true' in lines[n])
    lines[place] = lines[place].replace("true", "false")
    file.write_text("\n".join(lines))
    tested = run("test", policies)
    assert tested.exit_code == 1
    said = "canary: metadata for the authenticated: expected a denial, it is allowed"
    assert f"{file}:{line}:1: {said}" in tested.output
    assert "canaries, 1 failed" in tested.output
    (found,) = json.loads(run("test", policies, "--json").output)["findings"]
    assert (found["line"], found["code"]) == (line, "canary")


def test_canaries_that_cannot_be_read_fail(policies: Path) -> None:
    (policies / "canaries.json").write_text("{")
    tested = run("test", policies)
    assert tested.exit_code == 1
    assert "canaries.json:0:0: canary:" in tested.output


def test_too_little_coverage_fails(policies: Path) -> None:
    (policies / "gateway" / "authz" / "authz_test.rego").write_text("package t\n\ntest_nothing if true\n")
    tested = run("test", policies, "--min-coverage", 90)
    assert tested.exit_code == 1
    assert "checks.rego:" in tested.output


@pytest.mark.slow
def test_mutation(policies: Path) -> None:
    assert run("mutate", policies).exit_code == 0
    file = policies / "gateway" / "authz" / "checks.rego"
    guards = ("is_number(input.tensors.batch)", "input.tensors.batch >= 0")
    lines = [line for line in file.read_text().splitlines() if not line.strip().startswith(guards)]
    file.write_text("\n".join(lines))
    mutated = run("mutate", policies)
    assert mutated.exit_code == 1
    assert "tensors.batch=null: still allowed, though the field is checked" in mutated.output
    accepted = "".join(f"tensors.batch={change}  # a test accepts it\n" for change in ("null", "true", "-1"))
    (policies / "mutate.allow").write_text((policies / "mutate.allow").read_text() + accepted)
    assert run("mutate", policies).exit_code == 0
    (policies / "mutate.allow").write_text("tensors.batch=null\n")
    assert "needs a reason" in run("mutate", policies).output


def test_without_canaries_nothing_is_proved(policies: Path) -> None:
    (policies / "canaries.json").unlink()
    mutated = run("mutate", policies)
    assert mutated.exit_code == 1
    assert "there are none" in mutated.output


def test_explain_a_file(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"action": {"group": "health", "name": "server_live"}}')
    explained = run("explain", file, "--policies", SHIPPED)
    assert explained.exit_code == 0
    assert "proven  permission" in explained.output
    assert run("explain", "no-such/1", "--data", tmp_path, "--policies", SHIPPED).exit_code == 2


def test_replay_of_nothing_says_so(tmp_path: Path) -> None:
    replayed = run("replay", "--candidate", SHIPPED, "--data", tmp_path)
    assert replayed.exit_code == 0
    assert "0 of 0 decisions replayed" in replayed.output
    assert run("replay", "--candidate", SHIPPED, "--data", tmp_path, "--since", "yesterday").exit_code == 2


def test_history_rollback_release_and_diff(policies: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    kept = Revisions(data / "policy", clock_us=lambda: 1)
    first = Bundle.linted(read_directory(policies))
    kept.save(first)
    kept.note("activated", first)
    file = policies / "data.json"
    file.write_text(file.read_text().replace('"2026-11-23.1"', '"2026-11-24.1"'))
    difference = run("diff", first.revision, policies, "--data", data)
    assert difference.exit_code == 0
    assert '+  "version": "2026-11-24.1"' in difference.output
    assert run("rollback", "ffff", "--reason", "x", "--data", data).exit_code == 1
    assert run("rollback", first.revision, "--reason", "wrong hours", "--data", data).exit_code == 0
    shown = run("history", "--data", data).output
    assert "rolled-back" in shown
    assert "pinned to" in shown
    assert json.loads(run("history", "--json", "--data", data).output)["pinned"] == first.digest
    assert run("release", "--data", data).exit_code == 0
    assert run("release", "--data", data).exit_code == 1


def test_history_of_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    result = run("history", "--data", tmp_path / "none")
    assert result.exit_code == 2
    assert "there is no policy history under" in result.output
    assert not (tmp_path / "none").exists()


def test_history_shows_a_finding_whole_and_counts_the_rest(tmp_path: Path) -> None:
    kept = Revisions(tmp_path / "policy", clock_us=lambda: 1)
    long = Finding("gateway/authz/authz_test.rego", 7, 1, "test", "x " * 100 + "end")
    prints = Finding("t.rego", 8, 1, "test", "it is false\n    a print")
    kept.refused(PolicyInvalid([long, prints]), current="0" * 64, author="ann")
    shown = run("history", "--data", tmp_path).output
    assert f"    {long}  +1 more (--json)" in shown
    assert "refused" in shown
    assert "before 000000000000  by ann" in shown


def test_the_schema_is_printed() -> None:
    assert "InputDocument" in json.loads(run("schema").output)["$defs"]


def test_every_command_has_an_example() -> None:
    for command in ("check", "test", "mutate", "explain", "replay", "history", "diff", "rollback", "release", "schema"):
        assert "Example: gateway policy" in run(command, "--help").output
