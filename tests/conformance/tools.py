"""Outside tools: on PATH, or where ``make tools`` puts them; clients that need an environment of their own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

_TOOLS = Path(__file__).parents[2] / ".tools"
_PROGRAMS = Path(__file__).parent / "clients"


def tool(name: str) -> str:
    """Its path. Skips the test where it is missing, and fails it in CI."""
    found = shutil.which(name) or shutil.which(name, path=str(_TOOLS / "bin"))
    return found or missing(name)


def client_python(name: str) -> str:
    """The interpreter of ``name``'s environment. Skips the test where it is missing, and fails it in CI."""
    home = _TOOLS / "clients" / name
    return str(home / "bin" / "python") if (home / ".installed").exists() else missing(f"the client {name}")


def client_sees(name: str, *arguments: str) -> dict[str, Any]:
    """What the program of the client ``name`` in ``clients/`` tells of its calls."""
    command = [client_python(name), str(_PROGRAMS / f"{name}_calls.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def missing(what: str) -> NoReturn:
    """Skip the test for want of ``what``, or fail it in CI."""
    text = f"{what} is missing: run 'make tools'"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


async def run(*command: str, timeout: float = 60.0) -> tuple[int, str, str]:
    """Exit status, output and error output of a command, run beside the event loop."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(), err.decode()
