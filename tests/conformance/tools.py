"""Outside tools: on PATH or in ``.tools/bin``, where ``make tools`` puts them."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

_BIN = Path(__file__).parents[2] / ".tools" / "bin"


def tool(name: str) -> str:
    """Its path. Skips the test where it is missing, and fails it in CI."""
    found = shutil.which(name) or shutil.which(name, path=str(_BIN))
    if found is not None:
        return found
    text = f"{name} is missing: run 'make tools'"
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
