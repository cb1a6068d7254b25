"""Identity and counters that cannot be used stop a start, in one sentence that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import launch


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "content", "options", "expected"),
    [
        ("data/keys.json", "{", (), "keys.json: not a key file"),
        ("data/quotas", "something else", (), "quotas: not a file of shared counters; move it away"),
        ("trust.toml", "[[issuers]]", ("--identity-trust", "trust.toml"), "nearest known one is `issuer`"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, file: str, content: str, options: tuple[str, ...], expected: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    running = launch(tmp_path / "data", *(str(path) if word == file else word for word in options))
    assert running.wait() == 1
    said = running.said()
    assert expected in said
    assert str(path) in said
    assert "Traceback" not in said
    assert path.read_text() == content
