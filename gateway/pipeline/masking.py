"""Masks: outputs that a policy hides leave dropped, zeroed or hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from math import prod
from urllib.parse import quote

from gateway.policy.input import size_of
from gateway.policy.obligations import MaskWith
from gateway.serving.datatypes import join_elements, split_elements
from gateway.serving.spec import TensorSpec
from gateway.types import OutputRequest, Tensor

MASKED = "gateway-masked"
"""The trailing metadata that names the masked outputs of an answer, separated by commas."""

_HASH_BYTES = 16


def mask_defect(mask: Mapping[str, MaskWith], outputs: Sequence[TensorSpec], requested: Sequence[OutputRequest]) -> str:
    """Why ``mask`` cannot be kept for a model with these outputs; "" when it can. Asked before the model runs.

    A name that the model lacks is a typo that would leave the real output bare; values that are not BYTES have
    no hash of the same type; a shared-memory region is the caller's and may be read before it is masked.
    """
    datatypes = {spec.name: spec.datatype for spec in outputs}
    for name, how in mask.items():
        if name not in datatypes:
            return f"the policy masks output '{name}', which the model does not have"
        if how == "hash" and datatypes[name] != "BYTES":
            return f"the policy hashes output '{name}' of type {datatypes[name]}; only BYTES can be hashed"
    for request in requested:
        if request.shared_memory is not None and request.name in mask:
            return f"output '{request.name}' is masked and cannot go to shared memory"
    return ""


def masked(outputs: tuple[Tensor, ...], mask: Mapping[str, MaskWith], key: bytes) -> tuple[Tensor, ...]:
    """``outputs`` as they may leave: no byte of a masked value is in them.

    ``drop`` removes the tensor; ``zero`` keeps datatype and shape, with zeros or empty strings; ``hash`` puts
    a keyed BLAKE2b (32 hex digits) in place of each string, so that equal strings stay equal to each other but
    nobody without ``key`` can find out short ones by trying.

    Raises: ValueError when a tensor to hash is not a well-formed BYTES tensor, or ``key`` is empty.
    """
    return tuple(
        tensor if (how := mask.get(tensor.name)) is None else _hide(tensor, how, key)
        for tensor in outputs
        if mask.get(tensor.name) != "drop"
    )


def masked_names(leaving: Sequence[Tensor], mask: Mapping[str, MaskWith]) -> tuple[tuple[str, str], ...]:
    """The header that tells which outputs ``leaving`` hold no real values, names percent-encoded; none if all do.

    Without it a zeroed probability looks like a confident answer.
    """
    names = [quote(tensor.name) for tensor in leaving if tensor.name in mask]
    return ((MASKED, ",".join(names)),) if names else ()


def _hide(tensor: Tensor, how: MaskWith, key: bytes) -> Tensor:
    if how == "hash":
        if tensor.datatype != "BYTES":
            raise ValueError(f"output '{tensor.name}' of type {tensor.datatype} cannot be hashed")
        if not key:
            raise ValueError(f"output '{tensor.name}' cannot be hashed without a key")
        elements = list(split_elements(tensor.data))
        if len(elements) != prod(tensor.shape):
            raise ValueError(f"output '{tensor.name}' holds {len(elements)} strings for shape {tensor.shape}")
        data = join_elements(_hashed(element, key) for element in elements)
    elif tensor.datatype == "BYTES":
        data = join_elements([b""] * prod(tensor.shape))  # the strings' lengths would tell of them too
    else:
        data = bytes(size_of(tensor))
    return Tensor(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, data=data)


def _hashed(element: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(element, key=key, digest_size=_HASH_BYTES).hexdigest().encode()
