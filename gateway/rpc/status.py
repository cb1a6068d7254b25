"""The only place where an ending becomes a gRPC status, its details and its trailing metadata."""

from __future__ import annotations

import logging

from gateway.errors import Code, GatewayError, Internal, Overloaded, PermissionDenied, Throttled
from gateway.transport.seam import Metadata, Refused
from gateway.types import Delivery
from gateway.v1.rpc_status import ErrorInfo, RetryInfo, Status

DOMAIN = "inference-gateway"
_log = logging.getLogger(__name__)


def refusal(error: BaseException, *, call_id: str, trace_id: str = "") -> Refused:
    """What the caller is told of ``error``. Anything that is not ours becomes INTERNAL without its text, and so does
    what cannot be said in UTF-8."""
    known = known_error(error, call_id, trace_id)
    try:
        return _refusal(known, trace_id)
    except Exception:  # noqa: BLE001
        _log.exception("rpc.refusal_failed", extra={"call_id": call_id})
        return Refused(Code.INTERNAL, "internal error")


def known_error(error: BaseException, call_id: str, trace_id: str) -> GatewayError:
    """``error`` if it is one of ours; anything else is logged and becomes Internal, without its text."""
    known = error if isinstance(error, GatewayError) else Internal(call_id)
    if isinstance(known, Internal):
        _log.error("call.failed", exc_info=error, extra={"call_id": call_id, "trace_id": trace_id})
    return known


def _refusal(known: GatewayError, trace_id: str) -> Refused:
    # ``Code`` has the numbers of gRPC, so the table from one to the other is the identity.
    status = Status(code=known.code.value, message=str(known))
    info = ErrorInfo(reason=_reason(known), domain=DOMAIN)
    trailers: list[tuple[str, bytes]] = []
    if known.decision_id:
        info.metadata["decision_id"] = known.decision_id
        trailers.append(("gateway-decision-id", known.decision_id.encode()))
    if known.prediction_id:
        trailers.append(("gateway-prediction-id", known.prediction_id.encode()))
    if trace_id:
        trailers.append(("gateway-trace-id", trace_id.encode()))
    if isinstance(known, PermissionDenied) and len(known.codes) > 1:
        info.metadata["reasons"] = ",".join(known.codes)
    status.details.add().Pack(info)
    if isinstance(known, Throttled | Overloaded):
        trailers.append(_retry(status, known.retry_after_ms))
    return Refused(known.code.value, str(known), tuple(trailers), status.SerializeToString())


def _reason(error: GatewayError) -> str:
    return error.codes[0] if isinstance(error, PermissionDenied) and error.codes else error.reason


def _retry(status: Status, retry_after_ms: int) -> tuple[str, bytes]:
    info = RetryInfo()
    info.retry_delay.FromMilliseconds(retry_after_ms)
    status.details.add().Pack(info)
    return "grpc-retry-pushback-ms", str(retry_after_ms).encode()


def answer_trailers(trace_id: str, delivery: Delivery) -> Metadata:
    """What goes with status OK, so that a caller can quote record, trace and decision, and what obligations add."""
    decision = ("gateway-decision-id", delivery.decision_id.encode())
    trace = ("gateway-trace-id", trace_id.encode())
    if not delivery.prediction_id:
        trailers: Metadata = (trace, decision)
    else:
        trailers = (("gateway-prediction-id", delivery.prediction_id.encode()), trace, decision)
    if delivery.headers:
        trailers += tuple((name, value.encode()) for name, value in delivery.headers)
    return trailers
