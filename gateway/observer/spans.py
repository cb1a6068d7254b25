"""From a record to its spans: the server span and one child a phase. Pure; no telemetry library.

Ids are the record's own, and those of children are derived from them: a replay makes the same spans, so a back
end can tell that it has seen them. One wall-clock time a record, monotonic offsets for the rest: a clock that
steps makes no negative duration.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TypeAlias

import msgspec

from gateway.errors import Code
from gateway.ledger.events import Event
from gateway.ledger.record import PHASES, Record
from gateway.observer import conventions as names
from gateway.observer.conventions import Attribute

Attributes: TypeAlias = dict[str, Attribute]


class Span(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One span. Ids in hex, times in nanoseconds since 1970. ``error`` is "" unless the span's status is error."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str = ""
    server: bool = False
    start_ns: int
    end_ns: int
    attributes: Attributes
    error: str = ""


def spans_of(record: Record, rule: str, *, duplicate: bool = False) -> list[Span]:
    """The spans of a call that ``rule`` keeps: the server span first, then its phases in order."""
    start_ns = record.t_us * 1000
    error = record.error or record.status if record.status in names.SPAN_ERRORS else ""
    server = Span(
        name=names.qualified(record.method, record.action),
        trace_id=record.trace,
        span_id=record.span,
        parent_id=record.parent,
        server=True,
        start_ns=start_ns,
        end_ns=start_ns + record.dur_us * 1000,
        attributes=_server(record, rule, error, duplicate),
        error=error,
    )
    return [server, *_phases(record, start_ns)]


def _phases(record: Record, start_ns: int) -> list[Span]:
    spans, before = [], 0
    for index, phase in enumerate(PHASES):
        end = record.ph.get(phase)
        if end is None:
            continue
        spans.append(
            Span(
                name=phase,
                trace_id=record.trace,
                span_id=phase_span_id(record.trace, record.span, index),
                parent_id=record.span,
                start_ns=start_ns + min(before, end) * 1000,
                end_ns=start_ns + end * 1000,
                attributes={names.PHASE: phase} | _phase(record, phase),
            )
        )
        before = max(before, end)
    return spans


def phase_span_id(trace_id: str, span_id: str, phase: int) -> str:
    """The id of phase number ``phase``: the first 8 bytes of SHA-256(trace id, span id, number)."""
    digest = sha256(bytes.fromhex(trace_id) + bytes.fromhex(span_id) + bytes([phase]))
    return digest.digest()[:8].hex()


def _server(record: Record, rule: str, error: str, duplicate: bool) -> Attributes:
    code = Code[record.status].value if record.status in Code.__members__ else Code.UNKNOWN.value
    method = names.qualified(record.method, record.action)
    attributes = names.rpc_attributes(method, record.status, code, duplicate=duplicate)
    attributes |= {
        names.PREDICTION_ID: record.prediction_id,
        names.LEDGER_SHARD: record.shard,
        names.LEDGER_INDEX: record.seq,
        names.OUTCOME: record.outcome,
        names.STAGE: record.stage,
        names.SAMPLED_BY: rule,
        names.TENANT: record.tenant,
        names.PRINCIPAL: record.principal,
        names.MODEL_NAME: record.model,
        names.MODEL_VERSION: record.version,
        names.ROWS: record.rows,
        names.REQUEST_BYTES: record.in_b,
        names.RESPONSE_BYTES: record.out_b,
        names.ERROR_TYPE: error,
    }
    if "queue" in record.ph:
        attributes[names.QUEUE_DURATION] = _spent_us(record, "queue") / 1e6
    if record.decision_id:
        attributes |= {names.DECISION: "allow" if record.allow else "deny", names.REVISION: record.policy_rev}
        attributes[names.RULE] = record.reasons[0] if record.reasons else ""
    return {name: value for name, value in attributes.items() if value not in ("", ())}


def _spent_us(record: Record, phase: str) -> int:
    """Microseconds from the end of the phases before ``phase`` to its own."""
    before = [record.ph.get(each, 0) for each in PHASES[: PHASES.index(phase)]]
    return max(0, record.ph[phase] - max(before, default=0))


def _phase(record: Record, phase: str) -> Attributes:
    attributes: Attributes = {}
    if phase == "decide" and record.decision_id:
        attributes = {
            names.DECISION: "allow" if record.allow else "deny",
            names.DECISION_ID: record.decision_id,
            names.REVISION: record.policy_rev,
            names.REASONS: record.reasons,
            names.ENGINE: record.engine,
            names.CACHED: record.cached,
        }
        if not record.allow and record.reasons:
            attributes |= {
                names.SECURITY_RULE: record.reasons[0],
                names.SECURITY_RULESET: names.RULESET,
                names.SECURITY_VERSION: record.policy_rev,
            }
    elif phase == "infer":
        attributes = {
            names.MODEL_NAME: record.model,
            names.MODEL_VERSION: record.version,
            names.MODEL_DIGEST: record.model_sha,
            names.BATCH_SIZE: record.batch_n,
        }
    return {name: value for name, value in attributes.items() if value not in ("", ())}


_CHANGES = """switch model_loaded model_unloaded model_failed policy_loaded config_changed released suspended resumed
rolled_back retired policy_refused keys_created keys_changed keys_revoked keys_removed boot shutdown recover"""
SPAN_EVENTS = frozenset(_CHANGES.split())
"""Kinds of events that are worth a span: what changed in the gateway, and when."""


def event_span(event: Event) -> Span:
    """The root span of one change. Its length is the event's ``took_us``, where it has one; its ids come from its
    position in the ledger."""
    digest = sha256(f"gateway/event/v1\0{event.shard}/{event.seq}".encode()).digest()
    took = event.fields.get("took_us", 0)
    took_us = took if isinstance(took, int) and took > 0 else 0
    error = event.reason or event.kind if event.kind.endswith(("_failed", "_refused")) else ""
    attributes: Attributes = {names.LEDGER_SHARD: event.shard, names.LEDGER_INDEX: event.seq}
    attributes |= {names.EVENT + name: value for name, value in event.fields.items()}
    attributes |= {names.EVENT + "actor": event.actor, names.EVENT + "reason": event.reason}
    return Span(
        name=f"gateway.{event.kind}",
        trace_id=digest[:16].hex(),
        span_id=digest[16:24].hex(),
        start_ns=(event.t_us - took_us) * 1000,
        end_ns=event.t_us * 1000,
        attributes={name: value for name, value in attributes.items() if value not in ("", ())},
        error=error,
    )
