"""The shipped policies pass what every policy must pass, here and in OPA's own tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.policy.bundle import Bundle
from gateway.policy.canaries import failures, parse
from gateway.policy.files import Files
from gateway.policy.mutate import mutate
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.schema import Gateway
from gateway.policy.testing import run_tests

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "policies"


def test_they_load_and_their_tests_and_canaries_pass() -> None:
    Bundle.read(SHIPPED, vet=True)


def test_every_line_is_tested(shipped: Bundle) -> None:
    report = run_tests(shipped.modules, shipped.tests, shipped.data)
    assert report.passed
    assert {file: lines for file, lines in report.missed.items() if lines} == {}


@pytest.mark.slow
def test_no_field_can_be_broken_and_still_allow(shipped: Bundle) -> None:
    report = mutate(shipped, EmbeddedPoint(shipped, gateway=Gateway()).ask)
    assert report.survivors == ()
    assert report.evaluations >= 250


def test_a_canary_that_is_answered_differently_is_found(shipped: Bundle) -> None:
    canaries = parse(shipped.canaries)
    empty = Bundle.linted(_files('default decision := {"v": 1, "allow": false, "reasons": [], "obligations": []}\n'))
    found = failures(canaries, EmbeddedPoint(empty, gateway=Gateway()).ask)
    assert len(found) >= sum(canary.allow for canary in canaries)


def test_a_deny_list_is_found_open() -> None:
    source = """
default decision := {"v": 1, "allow": false, "reasons": [], "obligations": []}
decision := {"v": 1, "allow": count(bad) == 0, "reasons": bad, "obligations": []}
bad contains {"code": "too_large"} if input.tensors.batch > 32
bad contains {"code": "stranger"} if input.subject.tenant == "x"
"""
    files = _files(source)
    files.canaries = b'{"canaries": [{"name": "fine", "action": "inference:infer", "allow": true}]}'
    bundle = Bundle.linted(files)
    report = mutate(bundle, EmbeddedPoint(bundle, gateway=Gateway()).ask)
    labels = {survivor.label for survivor in report.survivors}
    assert {"tensors.batch=null", "tensors.batch=deleted", "subject.tenant=deleted"} <= labels


def _files(body: str) -> Files:
    return Files(modules={"p.rego": f"package gateway.authz\n\n{body}"})


def test_opa_checks_and_tests_them(opa_binary: str) -> None:
    for command in (["check", "--strict"], ["test"], ["fmt", "--fail", "-l"]):
        target = SHIPPED / "gateway" if command[0] == "fmt" else SHIPPED
        done = subprocess.run([opa_binary, *command, str(target)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_regal_finds_nothing() -> None:
    regal = shutil.which("regal") or shutil.which("regal", path=str(ROOT / ".tools" / "bin"))
    if regal is None:
        if os.environ.get("CI") == "true":
            pytest.fail("regal is missing; run deploy/install-tools.sh")
        pytest.skip("regal is not installed; deploy/install-tools.sh installs it")
    done = subprocess.run([regal, "lint", "policies"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
