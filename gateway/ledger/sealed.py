"""Encrypted rows as they are stored beside records."""

from __future__ import annotations

import struct
from typing import NamedTuple


class Sealed(NamedTuple):
    """What is kept of one record. ``kek`` names the key that wraps ``dek``; ``subject`` is a keyed digest or None.

    ``block`` is not stored: first number and distances of the block that the row was found in, () for one by itself.
    """

    kek: int
    dek: bytes
    subject: bytes | None
    expires_us: int | None
    body: bytes
    block: tuple[int, bytes] | tuple[()] = ()


class Block(NamedTuple):
    """The salts of several records of one tenant; ``distances`` are u16, big-endian, from ``first``."""

    first: int
    distances: bytes
    kek: int
    dek: bytes
    expires_us: int | None
    body: bytes

    def numbers(self) -> list[int]:
        """The sequence numbers of its records, in order."""
        return [self.first + far for far in struct.unpack(f">{len(self.distances) // 2}H", self.distances)]
