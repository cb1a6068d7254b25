"""A record as the bytes of its leaf. Apart from ``record``, so that it can be compiled."""

from __future__ import annotations

import msgspec

from gateway.ledger.record import OBLIGATIONS, REASONS, ROOMY, TEXT, Record

_encoder = msgspec.json.Encoder()


def encode(record: Record) -> bytes:
    """The leaf bytes of ``record``; text beyond the caps is cut and ``cut`` set."""
    r = record
    # Together they are short in nearly every record, and then none is too long.
    texts = r.asked, r.purpose, r.principal, r.tenant, r.cred, r.model, r.effect, r.policy_rev
    if len("".join(texts)) > TEXT or len(r.reasons) > REASONS or len(r.obligations) > OBLIGATIONS:
        record = _cut(record, TEXT)
    leaf = _encoder.encode(record)
    return leaf if len(leaf) <= ROOMY else _encoder.encode(_cut(record, TEXT))


def _cut(record: Record, cap: int) -> Record:
    """``record`` with every text at most ``cap`` characters long and bounded lists."""
    short: dict[str, object] = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, str) and len(value) > cap:
            short[name] = value[:cap]
        elif isinstance(value, tuple):
            most = OBLIGATIONS if name == "obligations" else REASONS
            items = tuple(item[:cap] for item in value[:most])
            if items != value:
                short[name] = items
        elif name == "ph" and len(value) > REASONS:
            short[name] = {}
    if not short:
        return record
    cut = msgspec.structs.replace(record, cut=True, **short)
    if cap > 32 and len(_encoder.encode(cut)) > ROOMY:
        return _cut(cut, 32)
    return cut
