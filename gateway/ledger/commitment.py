"""Salted commitments: what a record says about tensors without saying anything of them.

    commit(tag, salt, body) = SHA-256("gateway/" || tag || "/v1" || 0x00 || salt[32] || body)
    body(in | out) = for each tensor, sorted by name (bytes):
        u16 len || name || u8 datatype || u8 ndim || ndim * u64 dim || u64 len || data

Integers are big-endian; ``data`` is the OIP raw form. The salt is kept in the erasable store: once it
is gone the commitment says nothing, and the tree still verifies.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Sequence
from typing import Literal, TypeAlias

from gateway.errors import InvalidInput
from gateway.types import Tensor

Tag: TypeAlias = Literal["in", "out", "pol"]

SALT_BYTES = 32
DATATYPES = {
    name: code
    for code, name in enumerate(
        [
            "BOOL",
            "UINT8",
            "UINT16",
            "UINT32",
            "UINT64",
            "INT8",
            "INT16",
            "INT32",
            "INT64",
            "FP16",
            "FP32",
            "FP64",
            "BYTES",
            "BF16",
        ],
        start=1,
    )
}
"""Codes of the datatypes; 0 stands for a name outside of the protocol."""

_PREFIX = {tag: b"gateway/" + tag.encode() + b"/v1\x00" for tag in ("in", "out", "pol")}
_U64 = (1 << 64) - 1


class Salts:
    """Draws random salts; reads the system's source in blocks (0.1 us a salt instead of 0.4)."""

    __slots__ = ("_at", "_block")

    def __init__(self) -> None:
        self._block = b""
        self._at = 0

    def take(self) -> bytes:
        """32 fresh random bytes."""
        at = self._at
        if at >= len(self._block):
            self._block, at = os.urandom(SALT_BYTES * 128), 0
        self._at = at + SALT_BYTES
        return self._block[at : at + SALT_BYTES]


def commit(tag: Tag, salt: bytes, tensors: Sequence[Tensor]) -> str:
    """Commitment to ``tensors`` in lower-case hex; their order does not matter.

    Raises: InvalidInput when a name exceeds 65,535 bytes or a shape 255 dimensions.
    """
    digest = hashlib.sha256(_PREFIX[tag] + _checked(salt))
    ordered = tensors if len(tensors) < 2 else sorted(tensors, key=_name)
    for tensor in ordered:
        digest.update(_header(tensor))
        digest.update(tensor.data)
    return digest.hexdigest()


def commit_bytes(tag: Tag, salt: bytes, body: bytes) -> str:
    """Commitment to ``body`` as it stands (the policy input document), in lower-case hex."""
    return hashlib.sha256(_PREFIX[tag] + _checked(salt) + body).hexdigest()


def _checked(salt: bytes) -> bytes:
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, this one {len(salt)}")
    return salt


def _name(tensor: Tensor) -> bytes:
    return tensor.name.encode()


def _header(tensor: Tensor) -> bytes:
    name, shape, data = tensor.name.encode(), tensor.shape, tensor.data
    if len(name) > 0xFFFF or len(shape) > 0xFF:
        raise InvalidInput(
            f"tensor name of {len(name)} bytes with {len(shape)} dimensions: at most 65535 bytes and 255 dimensions"
        )
    size = data.nbytes if isinstance(data, memoryview) else len(data)
    return struct.pack(
        f">H{len(name)}sBB{len(shape)}QQ",
        len(name),
        name,
        DATATYPES.get(tensor.datatype, 0),
        len(shape),
        *[dim & _U64 for dim in shape],
        size,
    )
