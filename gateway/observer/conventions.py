"""Every name in our telemetry, and the schema they are of. Nothing else spells an attribute.

RPC names are those of OpenTelemetry's semantic conventions 1.44.0, which the schema URL states; that group is a
release candidate, and a later schema renames ``rpc.response.status_code``: back ends that know schemas translate.
``OTEL_SEMCONV_STABILITY_OPT_IN=rpc/dup`` adds the names of before 1.37 for boards that still ask for them.
For model inference and policy decisions no convention exists; ours begin with ``gateway.``.
"""

from __future__ import annotations

from typing import TypeAlias

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
SCOPE = "gateway.observer"

RPC_SYSTEM = "rpc.system.name"
RPC_METHOD = "rpc.method"
RPC_STATUS = "rpc.response.status_code"
ERROR_TYPE = "error.type"

PHASE = "gateway.phase"
PREDICTION_ID = "gateway.prediction.id"
OUTCOME = "gateway.outcome"
STAGE = "gateway.outcome.stage"
SAMPLED_BY = "gateway.sampled_by"
LEDGER_SHARD = "gateway.ledger.shard"
LEDGER_INDEX = "gateway.ledger.index"
TENANT = "gateway.tenant"
PRINCIPAL = "enduser.pseudo.id"
MODEL_NAME = "gateway.model.name"
MODEL_VERSION = "gateway.model.version"
MODEL_DIGEST = "gateway.model.digest"
ROWS = "gateway.rows"
BATCH_SIZE = "gateway.batch.size"
QUEUE_DURATION = "gateway.queue.duration"
DECISION = "gateway.policy.decision"
DECISION_ID = "gateway.policy.decision.id"
REVISION = "gateway.policy.revision"
RULE = "gateway.policy.rule"
REASONS = "gateway.policy.reasons"
ENGINE = "gateway.policy.engine"
CACHED = "gateway.policy.cached"
REQUEST_BYTES = "gateway.request.size"
RESPONSE_BYTES = "gateway.response.size"
EVENT = "gateway.event."

SECURITY_RULE = "security_rule.name"
SECURITY_RULESET = "security_rule.ruleset.name"
SECURITY_VERSION = "security_rule.version"
RULESET = "gateway.authz"
"""The group of security rules is in development; it says what fired, so denials have it beside our own names."""

Attribute: TypeAlias = str | int | float | bool | tuple[str, ...]

SPAN_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Statuses that make a server span an error. A denial, a shed or a bad argument is the server doing its work."""


def rpc_attributes(method: str, status: str, code: int, *, duplicate: bool) -> dict[str, Attribute]:
    """The RPC attributes of a server span; with ``duplicate`` those of the older conventions too."""
    new: dict[str, Attribute] = {RPC_SYSTEM: "grpc", RPC_METHOD: method, RPC_STATUS: status}
    if not duplicate:
        return new
    # ``rpc.method`` meant less in the old conventions; it can have one meaning a span, so the new one wins.
    return new | {"rpc.system": "grpc", "rpc.service": method.rpartition("/")[0], "rpc.grpc.status_code": code}


def qualified(method: str, action: str) -> str:
    """The full name of a recorded ``method``, which records may hold without its service."""
    if "/" in method:
        return method
    service = "grpc.health.v1.Health" if action.startswith("health:") else "inference.GRPCInferenceService"
    return f"{service}/{method}"


def duplicates(opt_in: str) -> bool:
    """Whether ``OTEL_SEMCONV_STABILITY_OPT_IN`` asks for old names beside the new."""
    return "rpc/dup" in (item.strip() for item in opt_in.split(","))
