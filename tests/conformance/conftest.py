"""The suite that every transport holds, over real sockets and real clients, on the loop that serves in production.

Its tools lie beside it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parent))


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}
