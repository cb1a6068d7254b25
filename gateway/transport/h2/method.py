"""The method table of a connection."""

from __future__ import annotations

import msgspec

from gateway.transport.h2.core import HeaderMap
from gateway.transport.seam import Prompt, Refused, Shed, Stream, Unary


class Method(msgspec.Struct, frozen=True):
    """One row of the method table: a handler of unary calls, perhaps with a form that needs no task, or of streams."""

    name: str
    unary: Unary | None = None
    prompt: Prompt | None = None
    stream: Stream | None = None
    shed: Shed | None = None


class Turned(msgspec.Struct, frozen=True):
    """Stands for every call of a connection that is turned away with ``refused``, whose ``fields`` are made once."""

    refused: Refused
    fields: HeaderMap
