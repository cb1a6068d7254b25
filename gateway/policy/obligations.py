"""Obligations: what an allow is bound to, and how several of them become one set of duties.

A policy states obligations as typed objects (``{"type": "limit", "max_batch": 32}``). An unknown type, an unknown
field or a bad value never decodes, so it denies; what decodes is merged here, most restrictive first. This module
only says *what* must hold: the pipeline applies it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec

from gateway.errors import PermissionDenied
from gateway.types import Obligation

Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Amount: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Rate: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
MaskWith: TypeAlias = Literal["drop", "zero", "hash"]

STRICTNESS: Mapping[MaskWith, int] = {"hash": 0, "zero": 1, "drop": 2}
MAX_MASKED = 256


class RateLimit(Obligation, frozen=True, tag="rate_limit"):
    """A token bucket per ``key``: ``rps`` tokens a second, at most ``burst``; a call costs one, or its rows."""

    key: Name
    rps: Rate
    burst: Rate
    cost: Literal["request", "rows"] = "request"


class Quota(Obligation, frozen=True, tag="quota"):
    """A calendar counter (UTC) per ``key`` that survives restarts."""

    key: Name
    limit: Amount
    window: Literal["hour", "day", "month"]
    unit: Literal["requests", "rows"] = "requests"


class Limit(Obligation, frozen=True, tag="limit"):
    """Bounds of one call; None bounds nothing. ``max_response_bytes`` is checked after the run."""

    max_batch: Amount | None = None
    max_inputs: Amount | None = None
    max_bytes: Amount | None = None
    max_response_bytes: Amount | None = None

    def __post_init__(self) -> None:
        if all(value is None for value in msgspec.structs.astuple(self)):
            raise ValueError("a limit needs max_batch, max_inputs, max_bytes or max_response_bytes")


class Deadline(Obligation, frozen=True, tag="deadline"):
    """The call may take at most ``max_ms``; shortens the caller's own deadline, never lengthens it."""

    max_ms: Annotated[int, msgspec.Meta(ge=1, le=86_400_000)]


class Route(Obligation, frozen=True, tag="route"):
    """Another loaded, released version of the same model answers; there is no fallback."""

    version: Name


class Require(Obligation, frozen=True, tag="require"):
    """A fact that the gateway checks itself. ``max_age_s`` belongs to ``fresh_credential`` and to nothing else."""

    what: Literal["mtls", "signed_model", "approved_model", "fresh_credential"]
    max_age_s: Amount | None = None

    def __post_init__(self) -> None:
        if (self.what == "fresh_credential") != (self.max_age_s is not None):
            raise ValueError("max_age_s is required with fresh_credential and unknown without it")


class MaskOutputs(Obligation, frozen=True, tag="mask_outputs", rename={"how": "with"}):
    """The named outputs leave dropped, zeroed or hashed. An empty ``names`` masks nothing, and says so."""

    names: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_MASKED)]
    how: MaskWith


class Log(Obligation, frozen=True, tag="log"):
    """What is kept beside the record; the record itself is never optional."""

    payload: Literal["full", "digest", "none"]


class Header(Obligation, frozen=True, tag="header"):
    """One pair of trailing metadata, ``x-policy-*`` only."""

    name: Annotated[str, msgspec.Meta(pattern=r"^x-policy-[a-z0-9_.-]{1,64}$")]
    value: Annotated[str, msgspec.Meta(max_length=1024, pattern=r"^[\x20-\x7e]*$")]

    def __post_init__(self) -> None:
        if self.name.endswith("-bin"):
            raise ValueError("a header obligation cannot be binary (-bin)")


AnyObligation: TypeAlias = RateLimit | Quota | Limit | Deadline | Route | Require | MaskOutputs | Log | Header
"""Every obligation there is: the union that a decision document decodes into."""


class Duties(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All obligations of one decision, merged. Apply in this order: require, route, limit, deadline, mask check,
    quotas, rate limits (so that a call refused for another reason consumes nothing)."""

    require: tuple[Require, ...] = ()
    route: str | None = None
    limit: Limit | None = None
    deadline_ms: int | None = None
    mask: Mapping[str, MaskWith] = {}
    quotas: tuple[Quota, ...] = ()
    rate_limits: tuple[RateLimit, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    payload: Literal["full", "digest", "none"] | None = None


def kind(obligation: Obligation) -> str:
    """The obligation's ``type`` as a policy writes it."""
    return str(obligation.__struct_config__.tag)


@functools.lru_cache(maxsize=1024)
def merge(obligations: tuple[Obligation, ...]) -> Duties:
    """The duties of all ``obligations``, the most restrictive of each.

    Pure, and remembered: merging the tuple of a cached decision again costs its hash.
    Raises: PermissionDenied with code ``obligation_conflict`` where none is more restrictive, ``unknown_obligation``
    for one that is not of this module.
    """
    by: dict[type[Obligation], list[Obligation]] = {}
    for obligation in obligations:
        if type(obligation) not in _KINDS:
            raise PermissionDenied(("unknown_obligation",), detail=f"{type(obligation).__name__} is not known")
        by.setdefault(type(obligation), []).append(obligation)
    return Duties(
        require=tuple(dict.fromkeys(_of(by, Require))),
        route=_same("route", (o.version for o in _of(by, Route))),
        limit=functools.reduce(_tighter, _of(by, Limit)) if Limit in by else None,
        deadline_ms=min((o.max_ms for o in _of(by, Deadline)), default=None),
        mask=_masks(_of(by, MaskOutputs)),
        quotas=_per_key(_of(by, Quota), lambda o: (o.key, o.window, o.unit), _lower_quota),
        rate_limits=_per_key(_of(by, RateLimit), lambda o: (o.key, o.cost), _slower),
        headers=_headers(_of(by, Header)),
        payload=_same("log", (o.payload for o in _of(by, Log))),
    )


_KINDS = frozenset({RateLimit, Quota, Limit, Deadline, Route, Require, MaskOutputs, Log, Header})
_O = TypeVar("_O", bound=Obligation)
_V = TypeVar("_V", bound=str)


def _of(by: Mapping[type[Obligation], list[Obligation]], wanted: type[_O]) -> list[_O]:
    return [o for o in by.get(wanted, ()) if isinstance(o, wanted)]


def _same(name: str, values: Iterable[_V]) -> _V | None:
    """The one value that all agree on: two that differ conflict."""
    distinct = sorted(set(values))
    if len(distinct) > 1:
        raise PermissionDenied(("obligation_conflict",), detail=f"{name} obligations differ: {', '.join(distinct)}")
    return distinct[0] if distinct else None


def _least(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else min(a, b)


def _tighter(a: Limit, b: Limit) -> Limit:
    return Limit(
        max_batch=_least(a.max_batch, b.max_batch),
        max_inputs=_least(a.max_inputs, b.max_inputs),
        max_bytes=_least(a.max_bytes, b.max_bytes),
        max_response_bytes=_least(a.max_response_bytes, b.max_response_bytes),
    )


def _lower_quota(a: Quota, b: Quota) -> Quota:
    return a if a.limit <= b.limit else b


def _slower(a: RateLimit, b: RateLimit) -> RateLimit:
    return RateLimit(key=a.key, rps=min(a.rps, b.rps), burst=min(a.burst, b.burst), cost=a.cost)


def _per_key(
    items: Iterable[_O], key: Callable[[_O], tuple[str, ...]], tighter: Callable[[_O, _O], _O]
) -> tuple[_O, ...]:
    merged: dict[tuple[str, ...], _O] = {}
    for item in items:
        name = key(item)
        merged[name] = tighter(merged[name], item) if name in merged else item
    return tuple(merged[name] for name in sorted(merged))


def _masks(items: Iterable[MaskOutputs]) -> dict[str, MaskWith]:
    masks: dict[str, MaskWith] = {}
    for item in items:
        for name in item.names:
            if name not in masks or STRICTNESS[item.how] > STRICTNESS[masks[name]]:
                masks[name] = item.how
    return masks


def _headers(items: Iterable[Header]) -> tuple[tuple[str, str], ...]:
    values: dict[str, set[str]] = {}
    for item in items:
        values.setdefault(item.name, set()).add(item.value)
    return tuple((name, _same(name, values[name]) or "") for name in sorted(values))
