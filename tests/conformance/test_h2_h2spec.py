"""HTTP/2 and HPACK section by section, by h2spec in strict mode."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from tools import run, tool
from transports import running


async def test_every_section_of_the_specification(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    async with running("h2") as server:
        where = ["-h", "127.0.0.1", "-p", str(server.port), "-P", "/test.Test/Echo"]
        # five such header fields are more than our frame size, which one section must exceed
        status, output, _ = await run(
            tool("h2spec"), *where, "--strict", "--timeout", "2", "--max-header-length", "16000", "-j", str(report)
        )
    suites = ET.parse(report).getroot().findall("testsuite")  # our own tool wrote it
    failed = [case.get("classname") for suite in suites for case in suite if case.find("failure") is not None]
    assert failed == []
    assert sum(int(suite.get("tests", 0)) for suite in suites) > 140
    assert status == 0, output
