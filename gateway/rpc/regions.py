"""Where a request keeps tensors in memory that it shares with us."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from gateway.errors import InvalidInput, Unsupported
from gateway.v1.inference import InferParameter

Place: TypeAlias = tuple[str, int, int]
"""Region, offset, byte size."""

_KINDS = {
    "shared_memory_region": "string_param",
    "shared_memory_offset": "int64_param",
    "shared_memory_byte_size": "int64_param",
}


class Regions(Protocol):
    """Shared memory that callers registered."""

    @property
    def max_bytes(self) -> int:
        """The most that one request may have us read: shared memory is no way around the limit on messages."""
        ...

    def read(self, region: str, offset: int, byte_size: int) -> bytes:
        """A copy of these bytes. Raises: NotFound; InvalidInput when out of bounds; Unsupported."""
        ...

    def write(self, region: str, offset: int, byte_size: int, data: bytes | memoryview, output: str) -> None:
        """Put the data of ``output`` there. Raises: as ``read``; ServiceError when it does not fit."""
        ...


class NoRegions:
    """The regions of a server that does not share memory."""

    max_bytes = 0

    def read(self, region: str, offset: int, byte_size: int) -> bytes:
        raise Unsupported("Client shared memory is disabled on this server; send tensors in the message")

    def write(self, region: str, offset: int, byte_size: int, data: bytes | memoryview, output: str) -> None:
        raise Unsupported("Client shared memory is disabled on this server; take outputs in the message")


NO_REGIONS = NoRegions()


def placement(tensor: str, parameters: Mapping[str, InferParameter]) -> Place | None:
    """Where ``tensor`` lies, or None if it travels in the message.

    Raises: InvalidInput when the region is named without a size or the reverse, or a kind is wrong.
    """
    given: dict[str, str | int] = {}
    for name, kind in _KINDS.items():
        if name not in parameters:
            continue
        came = parameters[name].WhichOneof("parameter_choice")
        if came != kind:
            raise InvalidInput(f"parameter '{name}' of '{tensor}' came as {came or 'no value'}, expected {kind}")
        given[name] = getattr(parameters[name], kind)
    if not given:
        return None
    region, size = given.get("shared_memory_region"), given.get("shared_memory_byte_size")
    if not isinstance(region, str) or not isinstance(size, int):
        raise InvalidInput(
            f"'{tensor}' names shared memory incompletely: shared_memory_region and shared_memory_byte_size go together"
        )
    return region, int(given.get("shared_memory_offset", 0)), size
