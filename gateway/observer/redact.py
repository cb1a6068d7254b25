"""What of a configuration may be shown: nothing named like a secret, and no password inside a URL."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.logs import HIDDEN, redact

_SECRET = re.compile(r"(?i)(password|secret|token|credential|api_?key)")


def redacted(value: object, name: str = "") -> object:
    """``value`` with secrets hidden. What is empty stays so: that nothing is set is worth seeing."""
    if isinstance(value, Mapping):
        return {key: redacted(each, str(key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(each, name) for each in value]
    if value and _SECRET.search(name):
        return HIDDEN
    return redact(value) if isinstance(value, str) else value
