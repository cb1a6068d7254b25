"""Parameters of requests and responses: the wire's tagged values to plain ones and back."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.errors import InvalidInput
from gateway.pipeline.payload import SUBJECT
from gateway.types import Parameter, Parameters
from gateway.v1.inference import InferParameter

_KINDS: Mapping[str, tuple[str, ...]] = {
    "sequence_id": ("int64_param", "string_param"),
    "sequence_start": ("bool_param",),
    "sequence_end": ("bool_param",),
    "priority": ("uint64_param", "int64_param"),  # tritonclient sends the first, older clients the second
    "timeout": ("int64_param",),
    "triton_enable_empty_final_response": ("bool_param",),
    SUBJECT: ("string_param",),
}
SUBJECT_MOST = 1_024
"""Characters in the name of a data subject."""
_ANY = ("int64_param", "bool_param", "string_param", "double_param")


def request_parameters(wire: Mapping[str, InferParameter]) -> Parameters:
    """The parameters of a request, all of them, under their own names.

    Raises: InvalidInput for a reserved name, or a kind that the name does not take.
    """
    return {name: _value(name, parameter) for name, parameter in wire.items()}


def _value(name: str, parameter: InferParameter) -> Parameter:
    allowed = _KINDS.get(name, _ANY)
    if name.startswith("triton_") and name not in _KINDS:
        raise InvalidInput(f"parameter '{name}' has the prefix 'triton_', which is reserved for Triton usage")
    kind = parameter.WhichOneof("parameter_choice")
    if kind not in allowed:
        raise InvalidInput(
            f"parameter '{name}' came as {kind or 'a value of no known kind'}, expected {' or '.join(allowed)}"
        )
    value: Parameter = getattr(parameter, kind)
    if name == "priority" and isinstance(value, int) and value < 0:
        raise InvalidInput(f"parameter 'priority' came as {value}, expected 0 (default) or more")
    if name == SUBJECT and not 0 < len(str(value)) <= SUBJECT_MOST:
        raise InvalidInput(
            f"parameter '{SUBJECT}' came with {len(str(value))} characters, expected 1 to {SUBJECT_MOST}: "
            "what it names must be found again to be erased"
        )
    return value


def to_wire(value: Parameter) -> InferParameter:
    """``value`` in the kind that every dialect's client can read."""
    if isinstance(value, bool):
        return InferParameter(bool_param=value)
    if isinstance(value, int):
        return InferParameter(int64_param=value)
    if isinstance(value, float):
        return InferParameter(double_param=value)
    return InferParameter(string_param=value)
