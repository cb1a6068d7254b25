"""The payload of a record kept in full: what went in, came out and was decided on, as the record commits to it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.types import Tensor

SUBJECT = "gateway_subject"
"""The request parameter by which a caller says whose data a call holds, so that it can be found and erased."""


class KeptTensor(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A tensor in raw form, as ``types.Tensor``."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes


class KeptPayload(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Inputs as they came, outputs as they left (masked), and the policy input's values that were read, as JSON."""

    v: int = 1
    inputs: tuple[KeptTensor, ...] = ()
    outputs: tuple[KeptTensor, ...] = ()
    policy: bytes = b""


def encode_payload(inputs: Sequence[Tensor], outputs: Sequence[Tensor], policy: bytes) -> bytes:
    """MessagePack of a ``KeptPayload``."""
    return msgspec.msgpack.encode(KeptPayload(inputs=_kept(inputs), outputs=_kept(outputs), policy=policy))


def decode_payload(body: bytes) -> KeptPayload:
    """The inverse. Raises: one of MALFORMED."""
    return msgspec.msgpack.decode(body, type=KeptPayload)


def _kept(tensors: Sequence[Tensor]) -> tuple[KeptTensor, ...]:
    return tuple(
        KeptTensor(name=t.name, datatype=t.datatype, shape=tuple(t.shape), data=bytes(t.data)) for t in tensors
    )
