"""Only a signature makes ValidTensors: held by reading the package's syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import gateway

ROOT = Path(gateway.__file__).parent


def makers(name: str) -> set[str]:
    """Files in which ``name`` is used as anything but an annotation or an import."""
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and name in (
                getattr(node.func, "id", None),
                getattr(node.func, "attr", None),
            )
            cast = isinstance(node, ast.Call) and any(isinstance(a, ast.Name) and a.id == name for a in node.args)
            if called or cast:
                found.add(path.relative_to(ROOT).as_posix())
    return found


def test_only_the_signature_makes_valid_tensors() -> None:
    assert makers("ValidTensors") == {"serving/signature.py"}
