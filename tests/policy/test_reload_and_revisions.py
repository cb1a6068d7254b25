from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.policy.bundle import Bundle
from gateway.policy.difference import difference
from gateway.policy.files import Files, read_directory
from gateway.policy.findings import PolicyInvalid
from gateway.policy.regorus import EmbeddedPoint
from gateway.policy.reloader import Reloader
from gateway.policy.revisions import NoSuchRevision, Revisions
from gateway.policy.schema import Gateway

SHIPPED = Path(__file__).parents[2] / "policies"


def read_linted(path: Path) -> Bundle:
    return Bundle.linted(read_directory(path))


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED, tmp_path / "policies")
    return tmp_path / "policies"


@pytest.fixture
def revisions(tmp_path: Path) -> Revisions:
    ticks = iter(range(1, 10_000))
    return Revisions(tmp_path / "data" / "policy", clock_us=lambda: next(ticks), keep=3)


@pytest.fixture
def point(policies: Path) -> EmbeddedPoint:
    return EmbeddedPoint(read_linted(policies), gateway=Gateway())


def edit(policies: Path, old: str, new: str, file: str = "data.json") -> None:
    text = (policies / file).read_text()
    assert old in text
    (policies / file).write_text(text.replace(old, new))


async def test_a_good_edit_serves_at_the_next_step(policies: Path, point: EmbeddedPoint) -> None:
    reloader = Reloader(policies, point, read=read_linted)
    assert await reloader.step() is None
    edit(policies, '"2026-11-23.1"', '"2026-11-24.1"')
    change = await reloader.step()
    assert change is not None
    assert change.bundle is point.bundle
    assert change.previous.digest != point.bundle.digest
    assert await reloader.step() is None


@pytest.mark.parametrize(
    ("file", "old", "new", "code"),
    [
        ("gateway/authz/decision.rego", "package gateway.authz", "package gateway.authz\n\nx if {", "parse"),
        ("gateway/authz/decision.rego", "count(missing) == 0", "count(missing) >= 0", "test"),
        ("data.json", '"max_batch": 32', '"max_batch": 31', "test"),
        ("canaries.json", '"allow": true', '"allow": false', "canary"),
        ("data.json", '"version"', '"gateway"', "data-shadows-rule"),
        ("data.json", "{", "", "unreadable"),
    ],
)
async def test_a_bad_edit_never_replaces_a_good_bundle(
    policies: Path, point: EmbeddedPoint, file: str, old: str, new: str, code: str
) -> None:
    good = point.bundle
    reloader = Reloader(policies, point)
    await reloader.step()
    text = (policies / file).read_text()
    (policies / file).write_text(text.replace(old, new, 1))
    change = await reloader.step()
    assert change is not None
    assert change.refused is reloader.refused is not None
    assert code in {finding.code for finding in change.refused.findings}
    failed = [finding for finding in change.refused.findings if finding.code in ("test", "canary")]
    assert all(
        finding.line > 0 and "serves on with its last good revision; change" in finding.text for finding in failed
    )
    assert point.bundle is good
    (policies / file).write_text(text)
    assert await reloader.step() is None
    assert reloader.refused is None


async def test_a_directory_that_goes_away_changes_nothing(policies: Path, point: EmbeddedPoint) -> None:
    reloader = Reloader(policies, point, read=read_linted)
    await reloader.step()
    good = point.bundle
    shutil.rmtree(policies)
    change = await reloader.step()
    assert change is not None
    assert change.refused is not None
    assert point.bundle is good


async def test_a_rollback_holds_until_released(policies: Path, point: EmbeddedPoint, revisions: Revisions) -> None:
    reloader = Reloader(policies, point, revisions=revisions, read=read_linted)
    first = point.bundle
    revisions.save(first)
    revisions.note("activated", first)
    edit(policies, '"2026-11-23.1"', '"2026-11-24.1"')
    await reloader.step()
    second = point.bundle
    revisions.save(second)
    revisions.note("activated", second, previous=first.digest)
    revisions.pin(first.revision, author="ann", reason="wrong hours")
    await reloader.step()
    assert point.bundle.digest == first.digest
    edit(policies, '"2026-11-24.1"', '"2026-11-25.1"')
    assert await reloader.step() is None
    assert point.bundle.digest == first.digest
    assert revisions.release(author="ann")
    await reloader.step()
    assert "2026-11-25.1" in point.bundle.data
    assert [event.kind for event in revisions.history()] == ["activated", "activated", "rolled-back", "released"]
    assert revisions.history()[2].text == "wrong hours"
    assert revisions.current() == first.digest


def small(n: int) -> Bundle:
    source = f'package gateway.authz\n\ndefault decision := {{"v": {n}}}\n'
    return Bundle.linted(Files(modules={"a/p.rego": source}, data={"n": [n, 1e3, "ü"]}, label=f"r{n}"))


def test_a_kept_revision_reads_back_as_the_same(revisions: Revisions) -> None:
    bundle = small(1)
    revisions.save(bundle)
    revisions.save(bundle)
    again = revisions.load(bundle.revision)
    assert (again.digest, again.revision, again.modules) == (bundle.digest, bundle.revision, bundle.modules)


def test_only_the_newest_are_kept_and_the_pinned(revisions: Revisions) -> None:
    bundles = [small(n) for n in range(6)]
    revisions.save(bundles[0])
    revisions.pin(bundles[0].digest, author="", reason="")
    for bundle in bundles[1:]:
        revisions.save(bundle)
    assert revisions.resolve(bundles[0].digest) == bundles[0].digest
    assert revisions.resolve(bundles[5].digest[:12]) == bundles[5].digest
    with pytest.raises(NoSuchRevision, match="names 0 kept revisions"):
        revisions.resolve(bundles[1].digest)
    with pytest.raises(NoSuchRevision):
        revisions.resolve("")


def test_a_line_that_a_crash_cut_is_left_out(revisions: Revisions, tmp_path: Path) -> None:
    revisions.note("activated", small(1))
    revisions.refused(PolicyInvalid([]), current="x")
    file = tmp_path / "data" / "policy" / "history.jsonl"
    file.write_text(file.read_text() + '{"time_us": 3, "ki')
    assert [event.kind for event in revisions.history()] == ["activated", "refused"]


def test_a_damaged_line_is_left_out(revisions: Revisions, tmp_path: Path) -> None:
    revisions.note("activated", small(1))
    revisions.refused(PolicyInvalid([]), current="x")
    file = tmp_path / "data" / "policy" / "history.jsonl"
    file.write_bytes(file.read_bytes().replace(b"activated", b"activ\xe1ted"))
    assert [event.kind for event in revisions.history()] == ["refused"]


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"digest":""}', b'{"digest":"\xff"}', b"[" * 100_000])
async def test_a_damaged_pin_is_refused_and_nothing_decides_in_its_place(
    policies: Path, point: EmbeddedPoint, revisions: Revisions, tmp_path: Path, damage: bytes
) -> None:
    reloader = Reloader(policies, point, revisions=revisions, read=read_linted)
    first = point.bundle
    revisions.save(first)
    revisions.pin(first.revision, author="ann", reason="wrong hours")
    await reloader.step()
    (tmp_path / "data" / "policy" / "pin.json").write_bytes(damage)
    edit(policies, '"2026-11-23.1"', '"2026-11-24.1"')
    await reloader.step()
    assert "unreadable pin.json" in str(reloader.refused)
    assert revisions.pinned_by() == ""
    assert point.bundle.digest == first.digest
    assert revisions.release(author="ann")
    await reloader.step()
    assert "2026-11-24.1" in point.bundle.data


def test_the_difference_names_reads_and_lines(policies: Path) -> None:
    old = read_linted(policies)
    edit(policies, '"max_batch": 32', '"max_batch": 31')
    edit(
        policies,
        "count(missing) == 0",
        'count(missing) == 0\n\tinput.gateway.env == "x"',
        "gateway/authz/decision.rego",
    )
    lines = list(difference(old, read_linted(policies)))
    assert lines[0] == "reads now: input.gateway.env"
    assert '-      "max_batch": 32,' in lines
    assert '+\tinput.gateway.env == "x"' in lines
