"""Leaves that are not calls: what a shard says about itself, and what the governance ledger holds.

One shape for all kinds: who (``actor``, ``cred``), why (``reason``), and flat ``fields``. Same rules as
records: fixed key order, absent means default, integers, strings, booleans and lists of strings only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from gateway.ledger.ledger import Encode
from gateway.ledger.reading import Int64, decoder_of

Value: TypeAlias = str | int | bool | Sequence[str]

SHARD_KINDS = frozenset(
    [
        "boot",
        "shutdown",
        "beat",
        "switch",
        "feedback",
        "override",
        "shadow",
        "explain",
        "session",
        "erase",
        "recover",
        "shed",
    ]
)
"""Kinds of a prediction shard besides ``call``."""

GOVERNANCE_KINDS = frozenset(
    [
        "registered",
        "evidence_added",
        "validated",
        "review_requested",
        "approved",
        "rejected",
        "released",
        "suspended",
        "resumed",
        "rolled_back",
        "retired",
        "recalled",
        "policy_loaded",
        "policy_refused",
        "policy_shadow_started",
        "policy_shadow_ended",
        "config_changed",
        "key",
        "keys_created",
        "keys_changed",
        "keys_removed",
        "keys_revoked",
        "anchor",
        "seal",
        "prune",
        "hold",
        "release_hold",
        "erase",
        "export",
        "login_failed",
        "alert",
        "incident",
        "report",
        "break_glass",
        "boot",
        "shutdown",
        "beat",
        "recover",
        "model_loaded",
        "model_unloaded",
        "model_failed",
    ]
)
"""Kinds of the governance ledger."""

MAX_LEAF = 65_535
"""Leaves are at most this long: C2SP entry bundles count them in 16 bits."""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One event leaf. ``shard`` and ``seq`` are its position; ``t_us`` is wall-clock microseconds since 1970."""

    v: int = msgspec.field(default=0)
    kind: str = ""
    shard: str
    seq: Int64
    boot: str = ""
    t_us: Int64 = 0
    actor: str = ""
    cred: str = ""
    reason: str = ""
    re: tuple[str, ...] = ()
    fields: Mapping[str, bool | Int64 | str | tuple[str, ...]] = {}


_encoder = msgspec.json.Encoder()


def event(
    kind: str,
    *,
    boot: str,
    t_us: int,
    actor: str = "",
    cred: str = "",
    reason: str = "",
    re: tuple[str, ...] = (),
    fields: Mapping[str, Value] | None = None,
) -> Encode:
    """An event ready for ``Ledger.append``.

    Raises: ValueError for a kind that is not listed above or a value that is not of the allowed types.
    """
    if kind not in SHARD_KINDS and kind not in GOVERNANCE_KINDS:
        raise ValueError(f"unknown event kind {kind!r}")
    plain = {name: _plain(kind, name, value) for name, value in (fields or {}).items()}

    def encode(shard: str, seq: int) -> bytes:
        return _encoder.encode(
            Event(
                v=1,
                kind=kind,
                shard=shard,
                seq=seq,
                boot=boot,
                t_us=t_us,
                actor=actor,
                cred=cred,
                reason=reason,
                re=re,
                fields=plain,
            )
        )

    return encode


decode = decoder_of(Event)
"""The event in a leaf. Raises: LedgerCorrupt."""


def _plain(kind: str, name: str, value: Value) -> bool | int | str | tuple[str, ...]:
    if isinstance(value, int) and value.bit_length() > 63:
        raise ValueError(f"event {kind!r}, field {name!r}: an integer of {value.bit_length()} bits, of at most 63")
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError(f"event {kind!r}, field {name!r}: {type(value).__name__} is none of str, int, bool, list of str")
