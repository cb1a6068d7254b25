"""Builds the input document of one query (see ``schema``): the only place that does."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TypeAlias

import orjson

from gateway.policy.pdp import Query, RepositoryFacts, SettingsFacts, SharedMemoryFacts
from gateway.policy.schema import VERSION, Gateway
from gateway.types import OutputRequest, Parameter, Tensor

Document: TypeAlias = dict[str, object]

PARAMS = frozenset({"priority", "timeout", "sequence_id", "sequence_start", "sequence_end"})
"""Request parameters that a policy may see unless the deployment lists others."""

MAX_TEXT = 1024
_DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()


def document(query: Query, gateway: Gateway, params: frozenset[str] = PARAMS) -> Document:
    """The complete document of ``query``; only the request parameters named in ``params`` are in it."""
    return {
        "v": VERSION,
        "subject": _subject(query),
        "action": _action(query),
        "model": _model(query),
        "request": _request(query, params),
        "tensors": _tensors(query),
        "shared_memory": _shared_memory(query.shared_memory),
        "repository": _repository(query.repository),
        "settings": _settings(query.settings),
        "gateway": {
            "instance": gateway.instance,
            "region": gateway.region,
            "env": gateway.env,
            "version": gateway.version,
        },
    }


def encode(value: object) -> bytes:
    """Canonical JSON: keys sorted, no spaces. Raises: TypeError for what JSON cannot say."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def batch_of(query: Query) -> int:
    """Rows, as ``tensors.batch`` counts them; 0 for calls without tensors."""
    call = query.call
    if call is None:
        return 0
    if query.model is None or not query.model.batching:
        return 1
    if len(call.inputs) == 1:
        shape = call.inputs[0].shape
        return max(shape[0], 0) if shape else 0
    rows = -1
    for tensor in call.inputs:
        first = tensor.shape[0] if tensor.shape else 0
        if rows not in (-1, first):
            return 0
        rows = first
    return max(rows, 0)


def size_of(tensor: Tensor) -> int:
    """Bytes of one tensor."""
    data = tensor.data
    return data.nbytes if isinstance(data, memoryview) else len(data)


def total_bytes_of(query: Query) -> int:
    """Bytes of all input tensors."""
    total = 0
    if query.call is not None:
        for tensor in query.call.inputs:
            data = tensor.data
            total += data.nbytes if isinstance(data, memoryview) else len(data)
    return total


def deadline_ms(query: Query) -> int:
    """What the caller allowed from arrival on; 0 without a deadline."""
    context = query.context
    if context.deadline_ns is None:
        return 0
    return max(0, context.deadline_ns - context.received_ns) // 1_000_000


def days_of(query: Query) -> int:
    """Whole days since 1970-01-01, UTC."""
    return query.context.received_us // _DAY_US


def hours_of(query: Query) -> int:
    """Whole hours since 1970-01-01, UTC."""
    return query.context.received_us // _HOUR_US


def weekday_of(query: Query) -> int:
    """1 is Monday: day 0 was a Thursday."""
    return (days_of(query) + 3) % 7 + 1


def hour_of(query: Query) -> int:
    """The hour of the day, UTC."""
    return query.context.received_us // _HOUR_US % 24


def params_of(query: Query, allowed: frozenset[str]) -> dict[str, str]:
    """The allow-listed request parameters as text. One that is too long is left out: it proves nothing."""
    if query.call is None:
        return {}
    texts = ((key.lower(), _text(value)) for key, value in query.call.parameters.items())
    return {key: text for key, text in texts if key in allowed and len(text) <= MAX_TEXT}


def priority_of(query: Query) -> int:
    """Triton's ``priority`` parameter where it is an integer, else 0."""
    value = query.call.parameters.get("priority", 0) if query.call is not None else 0
    return value if type(value) is int and -(2**63) <= value < 2**63 else 0


def _text(value: Parameter) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _subject(query: Query) -> Document:
    who = query.principal
    return {
        "id": who.id,
        "type": who.kind,
        "tenant": who.tenant,
        "groups": list(who.groups),
        "auth": who.auth,
        "issuer": who.issuer,
        "key_id": who.credential,
        "spiffe_id": who.spiffe_id,
        "claims": dict(who.claims),
    }


def _action(query: Query) -> Document:
    action = query.context.action
    return {
        "group": action.group,
        "name": action.name,
        "service": action.service,
        "method": action.method,
        "writes": action.writes,
        "stream": action.stream,
        "stream_seq": query.stream_seq,
    }


def _model(query: Query) -> Document:
    model = query.model
    return {
        "name": model.id.name if model else "",
        "version": model.id.version if model else "",
        "digest": model.id.digest if model else "",
        "known": model.known if model else False,
        "requested_name": query.requested,
        "requested_version": query.requested_version,
        "labels": dict(model.labels) if model else {},
        "owner": model.owner if model else "",
        "stage": model.stage if model else "",
        "classification": model.classification if model else "",
    }


def _request(query: Query, params: frozenset[str]) -> Document:
    context = query.context
    return {
        "id": query.call.request_id if query.call is not None else "",
        "peer_ip": context.peer,
        "peer_kind": "tcp" if context.peer else "uds",
        "metadata": dict(context.metadata),
        "params": params_of(query, params),
        "deadline_ms": deadline_ms(query),
        "size_bytes": context.size,
        "priority": priority_of(query),
        "time": {
            "unix_s": context.received_us // 1_000_000,
            "date": datetime.date.fromordinal(_EPOCH_DAY + days_of(query)).isoformat(),
            "hour_utc": hour_of(query),
            "weekday": weekday_of(query),
        },
    }


def _tensors(query: Query) -> Document:
    call = query.call
    if call is None:
        return {"count": 0, "batch": 0, "total_bytes": 0, "inputs": [], "outputs": []}
    inputs = [_input(tensor) for tensor in call.inputs]
    return {
        "count": len(inputs),
        "batch": batch_of(query),
        "total_bytes": total_bytes_of(query),
        "inputs": inputs,
        "outputs": [_output(output) for output in call.outputs],
    }


def _input(tensor: Tensor) -> Document:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
        "bytes": size_of(tensor),
        "source": tensor.source,
    }


def _output(output: OutputRequest) -> Document:
    return {"name": output.name, "sink": "message" if output.shared_memory is None else "shared_memory"}


def _shared_memory(facts: SharedMemoryFacts | None) -> Mapping[str, object]:
    return {
        "kind": facts.kind if facts else "none",
        "region": facts.region if facts else "",
        "key": facts.key if facts else "",
        "offset": facts.offset if facts else 0,
        "byte_size": facts.byte_size if facts else 0,
        "device_id": facts.device_id if facts else 0,
        "all": facts.all if facts else False,
    }


def _repository(facts: RepositoryFacts | None) -> Mapping[str, object]:
    return {
        "model": facts.model if facts else "",
        "ready_only": facts.ready_only if facts else False,
        "unload_dependents": facts.unload_dependents if facts else False,
        "config_override": facts.config_override if facts else False,
        "file_overrides": list(facts.file_overrides) if facts else [],
    }


def _settings(facts: SettingsFacts | None) -> Mapping[str, object]:
    return {"scope": facts.scope if facts else "none", "writes": dict(facts.writes) if facts else {}}
