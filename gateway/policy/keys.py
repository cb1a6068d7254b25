"""Cache keys taken straight from a query: a hit builds no input document.

A read path of the policy becomes a getter over ``Query``. Plain attributes are fetched by one C-level
``attrgetter``; computed facts (rows, hour, deadline) by functions; a path into an open map compares the canonical
JSON of the value, with absent told from null. The law, held by a property test: equal keys imply equal values at
every read path of the input document.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeAlias

from gateway.policy import input as facts
from gateway.policy.pdp import Query
from gateway.policy.reads import Path, Reads
from gateway.policy.schema import OPEN_MAPS
from gateway.types import Tensor

Getter: TypeAlias = Callable[[Query], Hashable]

UNCACHEABLE = frozenset({("request", "time", "unix_s"), ("request", "id"), ("action", "stream_seq")})
"""Paths whose value is new with nearly every call: reading one makes a cache pointless."""

_ATTRIBUTES: Mapping[Path, str] = {
    ("subject", "id"): "principal.id",
    ("subject", "type"): "principal.kind",
    ("subject", "tenant"): "principal.tenant",
    ("subject", "groups"): "principal.groups",
    ("subject", "auth"): "principal.auth",
    ("subject", "issuer"): "principal.issuer",
    ("subject", "key_id"): "principal.credential",
    ("subject", "spiffe_id"): "principal.spiffe_id",
    ("action", "group"): "context.action.group",
    ("action", "name"): "context.action.name",
    ("action", "service"): "context.action.service",
    ("action", "method"): "context.action.method",
    ("action", "writes"): "context.action.writes",
    ("action", "stream"): "context.action.stream",
    ("action", "stream_seq"): "stream_seq",
    ("model", "requested_name"): "requested",
    ("model", "requested_version"): "requested_version",
    ("request", "peer_ip"): "context.peer",
    ("request", "peer_kind"): "context.peer",
    ("request", "size_bytes"): "context.size",
    ("shared_memory",): "shared_memory",
    ("repository",): "repository",
}
_OF_MODEL: Mapping[Path, str] = {
    ("model", "name"): "model.id.name",
    ("model", "version"): "model.id.version",
    ("model", "digest"): "model.id.digest",
    ("model", "known"): "model.known",
    ("model", "owner"): "model.owner",
    ("model", "stage"): "model.stage",
    ("model", "classification"): "model.classification",
}


class Absent:
    """Stands for a key that a map does not have: equal to itself alone."""


_ABSENT = Absent()


def compile_key(reads: Reads, params: frozenset[str]) -> Callable[[Query], Hashable] | None:
    """A function from a query to its cache key; None when the reads make a cache useless or cannot be fetched."""
    leaves = _leaves(reads)
    if leaves is None or leaves & UNCACHEABLE:
        return None
    computed = _computed(params)
    attributes = [_ATTRIBUTES[p] for p in sorted(leaves) if p in _ATTRIBUTES]
    of_model = [_OF_MODEL[p] for p in sorted(leaves) if p in _OF_MODEL]
    functions = list(dict.fromkeys(computed[p] for p in sorted(leaves) if p in computed))
    functions += [_in_map(p, computed) for p in sorted(leaves) if len(p) > 2 and p[:2] in OPEN_MAPS]
    return _combine(_fetch(attributes), _fetch(attributes + of_model), functions)


def _fetch(attributes: list[str]) -> Getter:
    """One C-level getter that gives a tuple."""
    names = list(dict.fromkeys(attributes))
    if len(names) < 2:
        names = ["context.action.group", "context.action.name", *names]  # attrgetter gives a tuple from two on
    return operator.attrgetter(*names)


def _combine(without: Getter, with_: Getter, functions: list[Getter]) -> Getter:
    """Attributes, with a model's where there is one, and computed facts; unrolled, as every hit pays for it."""
    match functions:
        case []:
            return lambda q: without(q) if q.model is None else with_(q)
        case [a]:
            return lambda q: (without(q) if q.model is None else with_(q), a(q))
        case [a, b]:
            return lambda q: (without(q) if q.model is None else with_(q), a(q), b(q))
        case [a, b, c]:
            return lambda q: (without(q) if q.model is None else with_(q), a(q), b(q), c(q))
        case _:
            return lambda q: (without(q) if q.model is None else with_(q), *[f(q) for f in functions])


def _leaves(reads: Reads) -> frozenset[Path] | None:
    """The known paths that cover ``reads``; None where one is covered by nothing."""
    known = _ATTRIBUTES.keys() | _OF_MODEL.keys() | _computed(frozenset()).keys()
    found: set[Path] = set()
    for path in reads:
        if path[:1] == ("gateway",) or path == ("v",):
            continue  # constant for the life of the process
        if len(path) > 2 and path[:2] in OPEN_MAPS:
            found.add(path[:3])
            continue
        covering = [k for k in known if k[: len(path)] == path or path[: len(k)] == k]
        if not covering:
            return None
        found.update(covering)
    return frozenset(found)


def _computed(params: frozenset[str]) -> Mapping[Path, Getter]:
    return {
        ("subject", "claims"): lambda q: facts.encode(dict(q.principal.claims)),
        ("model", "labels"): lambda q: _pairs(q.model.labels if q.model else {}),
        ("request", "id"): lambda q: q.call.request_id if q.call else "",
        ("request", "metadata"): lambda q: _pairs(q.context.metadata),
        ("request", "params"): lambda q: _pairs(facts.params_of(q, params)),
        ("request", "deadline_ms"): facts.deadline_ms,
        ("request", "priority"): facts.priority_of,
        ("request", "time", "unix_s"): lambda q: q.context.received_us // 1_000_000,
        # Within one hour of one day all three are the same, and no entry lives long enough to miss by it.
        ("request", "time", "date"): facts.hours_of,
        ("request", "time", "hour_utc"): facts.hours_of,
        ("request", "time", "weekday"): facts.hours_of,
        ("tensors", "count"): lambda q: len(q.call.inputs) if q.call else 0,
        ("tensors", "batch"): facts.batch_of,
        ("tensors", "total_bytes"): facts.total_bytes_of,
        ("tensors", "inputs"): _inputs,
        ("tensors", "outputs"): _outputs,
        ("settings",): lambda q: (q.settings.scope, _pairs(q.settings.writes)) if q.settings else None,
    }


def _in_map(path: Path, computed: Mapping[Path, Getter]) -> Getter:
    """One entry of an open map: its canonical JSON, or the mark of absence."""
    name = path[2]
    maps: Mapping[Path, Callable[[Query], Mapping[str, object]]] = {
        ("subject", "claims"): lambda q: q.principal.claims,
        ("model", "labels"): lambda q: q.model.labels if q.model else {},
        ("request", "metadata"): lambda q: q.context.metadata,
    }
    if path[:2] not in maps:
        return computed[path[:1] if path[:1] == ("settings",) else path[:2]]
    of = maps[path[:2]]

    def get(query: Query) -> Hashable:
        value = of(query).get(name, _ABSENT)
        return value if type(value) is str or value is _ABSENT else facts.encode(value)

    return get


def _pairs(mapping: Mapping[str, str]) -> Hashable:
    return tuple(sorted(mapping.items())) if mapping else ()


def _inputs(query: Query) -> Hashable:
    inputs: Iterable[Tensor] = query.call.inputs if query.call else ()
    return tuple((t.name, t.datatype, t.shape, facts.size_of(t), t.source) for t in inputs)


def _outputs(query: Query) -> Hashable:
    call = query.call
    return tuple((o.name, o.shared_memory is None) for o in call.outputs) if call else ()
