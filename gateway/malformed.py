"""What msgspec raises for bytes that are not what was expected."""

from __future__ import annotations

from typing import Final

import msgspec

MALFORMED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""For any bytes from a disk, a pipe or a peer: wrong syntax or type; text that is not UTF-8; nested without end."""
