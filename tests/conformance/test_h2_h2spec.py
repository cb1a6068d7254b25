"""HTTP/2 and HPACK section by section, by h2spec in strict mode."""

from __future__ import annotations

import re

from tools import run, tool
from transports import running

# Five such header fields are more than our frame size, which one section must exceed.
OPTIONS = ["--strict", "--timeout", "5", "--max-header-length", "16000", "-P", "/test.Test/Echo"]


async def test_every_section_of_the_specification() -> None:
    async with running("h2") as server:
        status, output, _ = await run(tool("h2spec"), "-h", "127.0.0.1", "-p", str(server.port), *OPTIONS)
    counts = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", output)
    assert counts is not None, output
    assert status == 0, output[output.find("Failures:") :]
    assert int(counts[2]) > 140
    assert counts[4] == "0"
