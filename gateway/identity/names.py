"""What a principal, tenant or group may be called."""

from __future__ import annotations

import re

# Names end up in policy data, rate-limit keys, records and terminals: no spaces, quotes or control characters.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:/+|=,~-]{0,254}")
RESERVED = "anonymous"


def name_defect(text: str) -> str:
    """Why ``text`` cannot name a principal or tenant; "" when it can.

    ``anonymous`` is the gateway's word for a caller who proved nothing; nobody who did may be called so.
    """
    if not _NAME.fullmatch(text):
        return "must be 1 to 255 letters, digits or . _ @ : / + | = , ~ - and start with a letter or digit"
    return f"{RESERVED!r} is reserved for callers without a credential" if text == RESERVED else ""


def group_defect(text: str) -> str:
    """Why ``text`` cannot name a group; "" when it can. Directories have groups such as ``Domain Users``."""
    if not 0 < len(text) <= 255 or not text.isprintable() or text != text.strip():
        return "must be 1 to 255 printable characters without a space at either end"
    return ""
