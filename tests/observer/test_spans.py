"""From record to spans: ids, times, names; and a replay that makes the same again."""

from __future__ import annotations

import pytest
from opentelemetry.semconv._incubating.attributes import rpc_attributes, security_rule_attributes
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.semconv.schemas import Schemas

from gateway.ledger import events
from gateway.observer import conventions
from gateway.observer.spans import event_span, phase_span_id, spans_of


def test_a_server_span_with_a_child_for_each_phase_reached(record) -> None:
    call = record(parent="f" * 16)
    server, *phases = spans_of(call, "ratio")
    assert (server.name, server.trace_id, server.span_id, server.parent_id) == (
        call.method,
        call.trace,
        call.span,
        "f" * 16,
    )
    assert server.server
    assert server.end_ns - server.start_ns == 1_200_000
    assert [(p.name, p.end_ns - p.start_ns) for p in phases] == [
        ("authenticate", 50_000),
        ("decide", 100_000),
        ("queue", 50_000),
        ("infer", 900_000),
        ("record", 100_000),
    ]
    assert all(p.parent_id == call.span and p.trace_id == call.trace for p in phases)
    assert len({s.span_id for s in (server, *phases)}) == 6


def test_a_replay_makes_the_same_spans(record) -> None:
    assert spans_of(record(), "deny") == spans_of(record(), "deny")


def test_the_id_of_a_phase_is_derived_as_documented() -> None:
    # sha256(trace bytes || span bytes || 01), computed with coreutils' sha256sum
    assert phase_span_id("00" * 15 + "01", "00" * 7 + "02", 1) == "a4832a40fc20484f"


def test_names_are_those_of_the_schema_that_we_state() -> None:
    assert Schemas.V1_44_0.value == conventions.SCHEMA_URL
    assert conventions.RPC_SYSTEM == rpc_attributes.RPC_SYSTEM_NAME
    assert conventions.RPC_METHOD == rpc_attributes.RPC_METHOD
    assert conventions.RPC_STATUS == rpc_attributes.RPC_RESPONSE_STATUS_CODE
    assert conventions.ERROR_TYPE == error_attributes.ERROR_TYPE
    assert conventions.SECURITY_RULE == security_rule_attributes.SECURITY_RULE_NAME
    assert conventions.SECURITY_RULESET == security_rule_attributes.SECURITY_RULE_RULESET_NAME
    assert conventions.SECURITY_VERSION == security_rule_attributes.SECURITY_RULE_VERSION


def test_a_denial_is_no_error_and_says_why(record, denied) -> None:
    server, _, decide, _ = spans_of(record(**denied), "deny")
    assert server.error == ""
    assert conventions.ERROR_TYPE not in server.attributes
    assert server.attributes[conventions.RPC_STATUS] == "PERMISSION_DENIED"
    assert server.attributes[conventions.SAMPLED_BY] == "deny"
    assert decide.attributes[conventions.REASONS] == ("tenant_not_allowed",)
    assert {name: value for name, value in decide.attributes.items() if name.startswith("security_rule")} == {
        conventions.SECURITY_RULE: "tenant_not_allowed",
        conventions.SECURITY_RULESET: "gateway.authz",
        conventions.SECURITY_VERSION: "r7",
    }


def test_only_a_denial_names_a_security_rule(record) -> None:
    assert not any("security_rule" in name for span in spans_of(record(), "ratio") for name in span.attributes)


def test_the_time_in_the_queue_is_an_attribute_in_seconds(record) -> None:
    assert spans_of(record(), "ratio")[0].attributes[conventions.QUEUE_DURATION] == 50e-6
    late = record(ph={"authenticate": 90, "decide": 40, "queue": 60})
    assert spans_of(late, "ratio")[0].attributes[conventions.QUEUE_DURATION] == 0


@pytest.mark.parametrize("status", sorted(conventions.SPAN_ERRORS))
def test_our_faults_are_errors(record, status: str) -> None:
    server = spans_of(record(status=status, outcome="failed", error="model_failed"), "error")[0]
    assert server.error == "model_failed"
    assert server.attributes[conventions.ERROR_TYPE] == "model_failed"


def test_old_names_beside_the_new_when_asked(record) -> None:
    attributes = spans_of(record(), "ratio", duplicate=conventions.duplicates("http, rpc/dup"))[0].attributes
    assert attributes["rpc.system"] == "grpc"
    assert attributes["rpc.service"] == "inference.GRPCInferenceService"
    assert attributes["rpc.grpc.status_code"] == 0
    assert attributes["rpc.method"] == "inference.GRPCInferenceService/ModelInfer"
    assert "rpc.system" not in spans_of(record(), "ratio")[0].attributes


def test_phases_that_run_backwards_have_no_negative_length(record) -> None:
    for span in spans_of(record(ph={"authenticate": 90, "decide": 40, "infer": 100}), "ratio"):
        assert span.end_ns >= span.start_ns


def test_a_policy_activation_is_a_span_of_its_own_trace() -> None:
    leaf = events.event(
        "policy_loaded", boot="b", t_us=5_000_000, actor="ann", fields={"revision": "r8", "took_us": 2000}
    )("gov", 7)
    span = event_span(events.decode(leaf))
    assert (span.name, span.start_ns, span.end_ns, span.error) == (
        "gateway.policy_loaded",
        4_998_000_000,
        5_000_000_000,
        "",
    )
    assert span.attributes == {
        "gateway.ledger.shard": "gov",
        "gateway.ledger.index": 7,
        "gateway.event.revision": "r8",
        "gateway.event.took_us": 2000,
        "gateway.event.actor": "ann",
    }
    assert event_span(events.decode(leaf)) == span


def test_a_model_that_failed_to_load_is_an_error_span() -> None:
    leaf = events.event("model_failed", boot="b", t_us=5, reason="bad file")("gov", 8)
    assert event_span(events.decode(leaf)).error == "bad file"


@pytest.mark.parametrize(
    ("method", "action", "expected"),
    [
        ("ModelInfer", "inference:infer", "inference.GRPCInferenceService/ModelInfer"),
        ("Check", "health:check", "grpc.health.v1.Health/Check"),
        ("a.B/C", "inference:infer", "a.B/C"),
    ],
)
def test_a_method_is_named_in_full(record, method: str, action: str, expected: str) -> None:
    server = spans_of(record(method=method, action=action), "ratio")[0]
    assert (server.name, server.attributes[conventions.RPC_METHOD]) == (expected, expected)
