"""Every error as a caller sees it: code, text, details and trailers."""

from __future__ import annotations

import inspect

import pytest

import gateway.errors as errors
from gateway.rpc.status import answer_trailers, refusal
from gateway.transport.seam import Refused
from gateway.types import Delivery
from gateway.v1.rpc_status import ErrorInfo, RetryInfo, Status

MADE = {
    errors.Unauthenticated: errors.Unauthenticated("unknown key"),
    errors.PermissionDenied: errors.PermissionDenied(("not_your_tenant", "too_many_rows"), "d-1"),
    errors.Throttled: errors.Throttled("slow down", 1500, "d-2"),
    errors.Overloaded: errors.Overloaded("busy", 20),
    errors.Internal: errors.Internal("c-1"),
}
ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.GatewayError)]


def details(refused: Refused) -> Status:
    return Status.FromString(refused.details)


def info(refused: Refused) -> ErrorInfo:
    found = ErrorInfo()
    assert details(refused).details[0].Unpack(found)
    return found


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_its_code_text_and_reason(kind: type[errors.GatewayError]):
    error = MADE.get(kind) or kind("what was wrong")
    refused = refusal(error, call_id="c", trace_id="t" * 32)
    assert refused.code == kind.code == details(refused).code
    assert refused.message == str(error) == details(refused).message
    assert info(refused).domain == "inference-gateway"
    assert ("gateway-trace-id", b"t" * 32) in refused.trailers


def test_a_denial_names_its_reasons_and_its_decision():
    refused = refusal(MADE[errors.PermissionDenied], call_id="c")
    assert info(refused).reason == "not_your_tenant"
    assert dict(info(refused).metadata) == {"decision_id": "d-1", "reasons": "not_your_tenant,too_many_rows"}
    assert refused.trailers == (("gateway-decision-id", b"d-1"),)


def test_the_cause_of_a_failed_authentication_stays_inside():
    refused = refusal(errors.Unauthenticated("key gw_abc is revoked"), call_id="c")
    assert "revoked" not in refused.message
    assert b"revoked" not in refused.details


@pytest.mark.parametrize(("kind", "millis"), [(errors.Throttled, 1500), (errors.Overloaded, 20)])
def test_what_may_be_retried_says_when(kind: type[errors.GatewayError], millis: int):
    refused = refusal(MADE[kind], call_id="c")
    assert ("grpc-retry-pushback-ms", str(millis).encode()) in refused.trailers
    retry = RetryInfo()
    assert details(refused).details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == millis


def test_what_is_not_ours_is_internal_without_its_text(caplog: pytest.LogCaptureFixture):
    refused = refusal(ZeroDivisionError("secret"), call_id="c-9")
    assert refused.code == 13
    assert refused.message == "internal error (call c-9)"
    assert b"secret" not in refused.details
    assert caplog.records[0].call_id == "c-9"
    assert caplog.records[0].exc_info


def test_the_record_of_the_ending_is_named():
    error = errors.InvalidInput("no")
    error.prediction_id = "s/7"
    assert ("gateway-prediction-id", b"s/7") in refusal(error, call_id="c").trailers


def test_any_refusal_after_a_decision_names_it():
    error = errors.InvalidInput("no")
    assert "gateway-decision-id" not in dict(refusal(error, call_id="c").trailers)
    error.decision_id = "d-7"
    refused = refusal(error, call_id="c")
    assert ("gateway-decision-id", b"d-7") in refused.trailers
    assert info(refused).metadata["decision_id"] == "d-7"


@pytest.mark.parametrize("prediction_id", ["", "s/7"])
def test_an_answer_takes_along_what_may_be_quoted_and_the_headers(prediction_id: str):
    delivery = Delivery(body=b"", prediction_id=prediction_id, decision_id="d-1", headers=(("gateway-masked", "y"),))
    quoted = {"gateway-prediction-id": b"s/7"} if prediction_id else {}
    assert dict(answer_trailers("t", delivery)) == quoted | {
        "gateway-trace-id": b"t",
        "gateway-decision-id": b"d-1",
        "gateway-masked": b"y",
    }


def test_a_failure_of_ours_is_logged_with_the_ids_that_join_it_to_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("tensor bytes") from None
    except ValueError as bug:
        refused = refusal(bug, call_id="c1", trace_id="ab" * 16)
    (entry,) = caplog.records
    assert (entry.getMessage(), entry.__dict__["trace_id"], entry.__dict__["call_id"]) == (
        "call.failed",
        "ab" * 16,
        "c1",
    )
    assert entry.exc_info is not None
    assert "tensor bytes" not in refused.message
