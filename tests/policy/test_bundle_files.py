from __future__ import annotations

from pathlib import Path

import pytest

from gateway.policy.bundle import Bundle
from gateway.policy.files import read_directory
from gateway.policy.findings import PolicyInvalid

GOOD = 'package gateway.authz\n\ndefault decision := {"v": 1, "allow": false, "reasons": [], "obligations": []}\n'


def write(root: Path, **files: str) -> Path:
    for name, text in {
        "p.rego": GOOD,
        **{k.replace("__", "/").replace("_json", ".json"): v for k, v in files.items()},
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def refusal(path: Path) -> str:
    with pytest.raises(PolicyInvalid) as invalid:
        Bundle.read(path)
    return str(invalid.value)


def test_data_lies_at_its_directory(tmp_path: Path) -> None:
    files = read_directory(write(tmp_path, data_json='{"a": 1}', x__y__data_json='{"b": 2}'))
    assert files.data == {"a": 1, "x": {"y": {"b": 2}}}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("data_json", '{"a": 1, "a": 2}', "appears twice"),
        ("data_json", "[1]", "must hold an object"),
        ("data_json", "{", "data.json:1:"),
        ("notes_json", "{}", "not part of a policy bundle"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    assert said in refusal(write(tmp_path, **{name: text}))


def test_two_files_never_write_one_key(tmp_path: Path) -> None:
    assert "already" in refusal(write(tmp_path, data_json='{"x": {"b": 1}}', x__data_json='{"b": 2}'))


def test_a_link_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "q.rego").symlink_to(tmp_path / "p.rego")
    assert "link" in refusal(tmp_path)


def test_rego_v0_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / ".manifest").write_text('{"rego_version": 0}')
    assert "rego_version must be 1" in refusal(tmp_path)


def test_no_directory_and_no_modules(tmp_path: Path) -> None:
    assert "no such directory or archive" in refusal(tmp_path / "nowhere")
    assert "no *.rego" in refusal(tmp_path)


def test_the_digest_is_of_what_decides(tmp_path: Path) -> None:
    first = Bundle.linted(read_directory(write(tmp_path, data_json='{"a": 1, "b": 2}')))
    spelled = Bundle.linted(
        read_directory(write(tmp_path, data_json='{ "b":2, "a":1 }', **{"p_test.rego": "package t\n"}))
    )
    assert first.digest == spelled.digest
    other = Bundle.linted(read_directory(write(tmp_path, data_json='{"a": 2, "b": 2}')))
    assert other.digest != first.digest


def test_a_manifest_labels_the_revision(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / ".manifest").write_text('{"revision": "2026-11-23"}')
    bundle = Bundle.linted(read_directory(tmp_path))
    assert bundle.revision == f"2026-11-23@{bundle.digest[:12]}"


def test_findings_show_the_path_as_given(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "q.rego").write_text("package gateway.authz\n\np if {")
    assert refusal(tmp_path).startswith(f"{tmp_path}/q.rego:3:")
