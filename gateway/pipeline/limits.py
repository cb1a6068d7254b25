"""Limits: how much one call may bring and take away."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.policy.input import size_of
from gateway.policy.obligations import Limit
from gateway.types import Call, Tensor


def request_defect(limit: Limit, call: Call, rows: int) -> str:
    """Which bound of ``limit`` ``call`` breaks, in words; "" for none. ``rows`` is its batch.

    Bytes are those of the request message, or of the tensors where shared memory brought more.
    """
    if limit.max_batch is not None and rows > limit.max_batch:
        return f"the batch has {rows} rows, at most {limit.max_batch} are allowed"
    if limit.max_inputs is not None and len(call.inputs) > limit.max_inputs:
        return f"the request has {len(call.inputs)} inputs, at most {limit.max_inputs} are allowed"
    if limit.max_bytes is not None:
        size = max(call.context.size, _size(call.inputs))
        if size > limit.max_bytes:
            return f"the request has {size} bytes, at most {limit.max_bytes} are allowed"
    return ""


def response_defect(limit: Limit, outputs: Sequence[Tensor]) -> str:
    """As ``request_defect``, for the tensors that would leave."""
    if limit.max_response_bytes is None or _size(outputs) <= limit.max_response_bytes:
        return ""
    return f"the answer has {_size(outputs)} bytes, at most {limit.max_response_bytes} are allowed"


def _size(tensors: Sequence[Tensor]) -> int:
    return sum(map(size_of, tensors))
