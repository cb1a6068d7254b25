"""Salted commitments: what a record says about tensors without saying anything of them.

    commit(tag, salt, body) = SHA-256("gateway/" || tag || "/v1" || 0x00 || salt[32] || body)
    body(in | out) = for each tensor, sorted by name (bytes):
        u16 len || name || u8 datatype || u8 ndim || ndim * u64 dim || u64 len || data

Integers are big-endian; ``data`` is the OIP raw form. The salt is kept in the erasable store: once it
is gone the commitment says nothing, and the tree still verifies.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import os
import struct
from collections.abc import Sequence
from typing import Literal, TypeAlias

from gateway.errors import InvalidInput
from gateway.types import Tensor

Tag: TypeAlias = Literal["in", "out", "pol"]

SALT_BYTES = 32
_DRAWN = 4096
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
_sha256 = hashlib.sha256
_NAME = operator.attrgetter("name")  # in the order of code points, which is that of UTF-8's bytes
_COPIED = 16_384
"""Data up to this size is joined and hashed in one call; more is hashed where it lies."""


class Salts:
    """Draws random salts; reads the system's source in blocks (0.1 us a salt instead of 0.4)."""

    __slots__ = ("_at", "_block")

    def __init__(self) -> None:
        self._block = b""
        self._at = 0

    def take(self, size: int = SALT_BYTES) -> bytes:
        """``size`` fresh random bytes, of one salt or of several behind each other; at most 1,024."""
        at = self._at
        self._at = end = at + size
        if end > len(self._block):
            self._block, self._at, at, end = os.urandom(_DRAWN), size, 0, size
        return self._block[at:end]


def commit(tag: Tag, salt: bytes, tensors: Sequence[Tensor]) -> str:
    """Commitment to ``tensors`` in lower-case hex; their order does not matter.

    Raises: InvalidInput when a name exceeds 65,535 bytes or a shape 255 dimensions.
    """
    if len(salt) != SALT_BYTES:
        raise _no_salt(salt)
    if len(tensors) == 1:
        data = tensors[0].data
        if type(data) is bytes and len(data) <= _COPIED:  # most inputs: the same, without a list and a sort
            tensor = tensors[0]
            header = _header(tensor.name, tensor.datatype, tensor.shape)
            return _sha256(b"".join((_PREFIX[tag], salt, header, len(data).to_bytes(8), data))).hexdigest()
    parts: list[bytes | memoryview] = [_PREFIX[tag], salt]
    for tensor in sorted(tensors, key=_NAME):
        data = tensor.data
        size = len(data) if type(data) is bytes else memoryview(data).nbytes
        if size > _COPIED:
            return _streamed(parts, tensors)
        parts += (_header(tensor.name, tensor.datatype, tensor.shape), size.to_bytes(8), data)
    return _sha256(b"".join(parts)).hexdigest()


def _streamed(start: Sequence[bytes | memoryview], tensors: Sequence[Tensor]) -> str:
    """The same, without a copy of the data: each update costs more, each byte less."""
    digest = hashlib.sha256(b"".join(start[:2]))
    for tensor in sorted(tensors, key=_NAME):
        size = tensor.data.nbytes if isinstance(tensor.data, memoryview) else len(tensor.data)
        digest.update(_header(tensor.name, tensor.datatype, tensor.shape) + size.to_bytes(8))
        digest.update(tensor.data)
    return digest.hexdigest()


def commit_bytes(tag: Tag, salt: bytes, body: bytes) -> str:
    """Commitment to ``body`` as it stands (the policy input document), in lower-case hex."""
    if len(salt) != SALT_BYTES:
        raise _no_salt(salt)
    return _sha256(_PREFIX[tag] + salt + body).hexdigest()


def _no_salt(salt: bytes) -> ValueError:
    return ValueError(f"a salt has {SALT_BYTES} bytes, this one {len(salt)}")


@functools.lru_cache(maxsize=1024)
def _header(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """Everything before the data but its length. Pure, and remembered: the same few come with every call."""
    text = name.encode()
    if len(text) > 0xFFFF or len(shape) > 0xFF:
        raise InvalidInput(
            f"tensor name of {len(text)} bytes with {len(shape)} dimensions: at most 65535 bytes and 255 dimensions"
        )
    head = struct.pack(f">H{len(text)}sBB", len(text), text, DATATYPES.get(datatype, 0), len(shape))
    return head + struct.pack(f">{len(shape)}Q", *[dim & _U64 for dim in shape])
