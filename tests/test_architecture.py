"""What no type can say: who mints permits, and how large a file may grow."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LONGEST = 300


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in sorted((ROOT / folder).rglob("*.py")) if "v1" not in path.parts)


def calls(path: Path, name: str) -> list[int]:
    """Lines of ``path`` that call ``name``, however it is qualified."""
    tree = ast.parse(path.read_text())
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and name in (getattr(node.func, "id", None), getattr(node.func, "attr", None))
    ]


def test_only_enforce_mints_permits() -> None:
    minted = {str(p.relative_to(ROOT)): len(lines) for p in sources("gateway") if (lines := calls(p, "Permit"))}
    assert minted == {"gateway/policy/pdp.py": 1}
    changed = [p for p in sources("gateway") if "Permit" in p.read_text() and "structs.replace(permit" in p.read_text()]
    assert changed == []


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in sources("gateway", "tests", "bench")}
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(p.relative_to(ROOT)) for p in sources("gateway") if ast.get_docstring(ast.parse(p.read_text())) is None
    ]
    assert silent == []


def test_bytes_that_may_be_damaged_are_caught_whatever_is_wrong_with_them() -> None:
    """msgspec raises more than its own errors for them, so whoever catches those alone has forgotten some."""
    names = "msgspec.MsgspecError", "msgspec.DecodeError"
    partial = {str(p.relative_to(ROOT)) for p in sources("gateway") if any(name in p.read_text() for name in names)}
    assert partial == {"gateway/malformed.py"}


def test_the_layers_import_only_what_lies_below() -> None:
    done = subprocess.run(
        [str(ROOT / ".venv/bin/lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
