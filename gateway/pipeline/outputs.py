"""Which outputs leave: those asked for, in the model's order, classified where the caller wants classes."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import InvalidInput
from gateway.pipeline.classification import classify
from gateway.serving.servable import Signature
from gateway.serving.spec import TensorSpec
from gateway.types import OutputRequest, ServableId, Tensor


def check_requested(requested: Sequence[OutputRequest], signature: Signature, servable: ServableId) -> None:
    """Refuse names that the model does not have, before it runs.

    Raises: InvalidInput with Triton's text.
    """
    if not requested:
        return
    known = {spec.name for spec in signature.outputs}
    seen: set[str] = set()
    for request in requested:
        if request.name not in known:
            raise InvalidInput(
                f"unexpected inference output '{request.name}' for model '{servable.name}', "
                f"which has {', '.join(sorted(known))}"
            )
        if request.name in seen:
            raise InvalidInput(f"output '{request.name}' already exists in request")
        seen.add(request.name)


def select(
    outputs: tuple[Tensor, ...],
    requested: Sequence[OutputRequest],
    *,
    batching: bool = True,
    specs: Sequence[TensorSpec] = (),
) -> tuple[Tensor, ...]:
    """``outputs`` reduced to the requested ones (all when none is named), keeping the model's order.

    ``specs`` are the model's outputs, which know the names of their classes. Called after masking, so that a class
    list never tells what a mask hides.

    Raises: InvalidInput when an output cannot be classified.
    """
    if not requested:
        return outputs
    wanted = {request.name: request for request in requested}
    labels = {spec.name: spec.labels for spec in specs}
    return tuple(
        classify(tensor, wanted[tensor.name].classification, batching=batching, labels=labels.get(tensor.name, ()))
        if wanted[tensor.name].classification
        else tensor
        for tensor in outputs
        if tensor.name in wanted
    )
