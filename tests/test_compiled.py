"""What may be compiled, and that it then is. Why these rules: docs/decisions/0011-compiled-request-path.md."""

from __future__ import annotations

import ast
import importlib
import os
import runpy
from importlib.machinery import ExtensionFileLoader, SourceFileLoader
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES: list[str] = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")["MODULES"]
SUSPENDING = (ast.AsyncFunctionDef, ast.Await, ast.Yield, ast.YieldFrom, ast.AsyncFor, ast.AsyncWith)


def parsed(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text())


@pytest.mark.parametrize("module", MODULES)
def test_nothing_that_is_compiled_can_be_suspended(module: str) -> None:
    """Compiled code that is suspended while it handles an error leaves that error to whoever runs next."""
    assert [node.lineno for node in ast.walk(parsed(module)) if isinstance(node, SUSPENDING)] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_struct_is_defined_in_what_is_compiled(module: str) -> None:
    """It would lose its keywords, such as ``omit_defaults``, and be encoded in other bytes."""
    bases = [
        ast.unparse(base) for node in ast.walk(parsed(module)) if isinstance(node, ast.ClassDef) for base in node.bases
    ]
    assert [base for base in bases if "Struct" in base] == []


def test_each_is_listed_once() -> None:
    assert len(MODULES) == len(set(MODULES)) > 0


@pytest.mark.parametrize("module", MODULES)
def test_what_runs_is_what_the_suite_was_started_for(module: str) -> None:
    """``make test-compiled`` says so in the environment; else it is the source, and no library left from a build."""
    expected = ExtensionFileLoader if "TEST_COMPILED" in os.environ else SourceFileLoader
    loaded = importlib.import_module(module.removesuffix(".py").replace("/", "."))
    assert isinstance(loaded.__loader__, expected), loaded.__file__
