"""The input document, schema version 1: everything a policy may know of one call.

Complete: every key is always present, with the value that proves nothing (``""``, ``0``, ``[]``, ``{}``, ``false``)
where it does not apply; never null, never tensor values, never a credential. The classes here are the schema: the
published JSON Schema, the lint's list of known paths and the check before an engine is asked all come from them.
A new optional key keeps ``v``; a changed meaning raises it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec

VERSION = 1

Int: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Group: TypeAlias = Literal[
    "health",
    "metadata",
    "inference",
    "shared-memory",
    "model-config",
    "model-repository",
    "statistics",
    "trace",
    "logging",
]
OPEN_MAPS = frozenset(
    {
        ("subject", "claims"),
        ("model", "labels"),
        ("request", "metadata"),
        ("request", "params"),
        ("settings", "writes"),
    }
)
"""Maps whose keys are the deployment's own."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Subject(_Section, frozen=True):
    """Who asks, proved. ``claims`` are verified and allow-listed."""

    id: str
    type: Literal["user", "service", "anonymous"]
    tenant: str
    groups: list[str]
    auth: Literal["mtls", "jwt", "api_key", "none"]
    issuer: str
    key_id: str
    spiffe_id: str
    claims: dict[str, msgspec.Raw]


class ActionFacts(_Section, frozen=True):
    """What is done. ``stream_seq`` counts the messages of a stream from 1; 0 elsewhere."""

    group: Group
    name: str
    service: str
    method: str
    writes: bool
    stream: bool
    stream_seq: Count


class Model(_Section, frozen=True):
    """The model after resolution; ``known`` is false when nothing by that name is served."""

    name: str
    version: str
    digest: str
    known: bool
    requested_name: str
    requested_version: str
    labels: dict[str, str]
    owner: str
    stage: str
    classification: str


class Time(_Section, frozen=True):
    """The gateway's clock at arrival, UTC; ``weekday`` 1 is Monday. Reading ``unix_s`` defeats the cache."""

    unix_s: Int
    date: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\d$")]
    hour_utc: Annotated[int, msgspec.Meta(ge=0, le=23)]
    weekday: Annotated[int, msgspec.Meta(ge=1, le=7)]


class Request(_Section, frozen=True):
    """The call itself. ``peer_ip`` is canonical text, "" where ``peer_kind`` is not ``tcp``."""

    id: str
    peer_ip: str
    peer_kind: Literal["tcp", "uds", "inproc"]
    metadata: dict[str, str]
    params: dict[str, str]
    deadline_ms: Count
    size_bytes: Count
    priority: Int
    time: Time


class Input(_Section, frozen=True):
    """One input tensor, without its values."""

    name: str
    datatype: str
    shape: list[Int]
    bytes: Count
    source: Literal["typed", "raw", "shared_memory"]


class Output(_Section, frozen=True):
    """One output asked for."""

    name: str
    sink: Literal["message", "shared_memory"]


class Tensors(_Section, frozen=True):
    """``batch``: dimension 0 shared by all inputs of a batching model, 1 for a model that does not batch, 0 when the
    inputs disagree. ``outputs`` empty means all."""

    count: Count
    batch: Count
    total_bytes: Count
    inputs: list[Input]
    outputs: list[Output]


class SharedMemory(_Section, frozen=True):
    """A shared-memory call; ``all`` is an unregister without a name."""

    kind: Literal["none", "system", "cuda"]
    region: str
    key: str
    offset: Count
    byte_size: Count
    device_id: Int
    all: bool


class Repository(_Section, frozen=True):
    """A model-repository call; ``file_overrides`` are names only."""

    model: str
    ready_only: bool
    unload_dependents: bool
    config_override: bool
    file_overrides: list[str]


class Settings(_Section, frozen=True):
    """A trace or log settings call."""

    scope: Literal["none", "global", "model"]
    writes: dict[str, str]


class Gateway(_Section, frozen=True):
    """Which gateway asks: constant for the life of a process."""

    instance: str = ""
    region: str = ""
    env: str = ""
    version: str = ""


class InputDocument(_Section, frozen=True):
    """The whole document."""

    v: Literal[1]
    subject: Subject
    action: ActionFacts
    model: Model
    request: Request
    tensors: Tensors
    shared_memory: SharedMemory
    repository: Repository
    settings: Settings
    gateway: Gateway


_decoder = msgspec.json.Decoder(InputDocument)


def check(document: bytes) -> None:
    """Hold an encoded document against the schema.

    Raises: msgspec.ValidationError naming the key.
    """
    _decoder.decode(document)


def json_schema() -> dict[str, object]:
    """The JSON Schema (2020-12) of the input document."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Policy input, version 1",
        **msgspec.json.schema(InputDocument),
    }


def type_at(segments: Sequence[str | None]) -> msgspec.inspect.Type | None:
    """The schema's type at a path (None stands for a computed segment); None when there is nothing.

    ``AnyType`` inside open maps.
    """
    found = _document_type()
    for segment in segments:
        if isinstance(found, msgspec.inspect.StructType):
            if segment is None:
                return msgspec.inspect.AnyType()
            field = next((f for f in found.fields if f.encode_name == segment), None)
            if field is None:
                return None
            found = field.type
        elif isinstance(found, msgspec.inspect.ListType):
            if segment is not None and not segment.isdigit():
                return None
            found = found.item_type
        elif isinstance(found, msgspec.inspect.DictType | msgspec.inspect.AnyType):
            return msgspec.inspect.AnyType()
        else:
            return None
    return found


@functools.cache
def _document_type() -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(InputDocument)
