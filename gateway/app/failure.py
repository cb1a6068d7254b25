"""Why a process cannot start."""

from __future__ import annotations


class StartupError(Exception):
    """Starting is impossible and trying again will not help. The text says what is wrong and what to do."""
