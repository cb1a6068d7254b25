"""grpc.health.v1: one bit for everybody, models for whom policy allows, changes as they happen."""

from __future__ import annotations

import asyncio

import pytest

from gateway.rpc.actions import HEALTH
from gateway.serving.manager import ModelStatus
from gateway.serving.version_policy import State
from gateway.transport.seam import Head, Refused
from gateway.v1.health import HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse

SERVING, NOT_SERVING, UNKNOWN = (
    HealthCheckResponse.SERVING,
    HealthCheckResponse.NOT_SERVING,
    HealthCheckResponse.SERVICE_UNKNOWN,
)
SERVICE = "inference.GRPCInferenceService"


async def check(call, service: str, **options) -> int:
    response, _ = await call(f"{HEALTH}/Check", HealthCheckRequest(service=service), HealthCheckResponse, **options)
    return response.status


@pytest.mark.parametrize(
    ("service", "status"), [("", SERVING), (SERVICE, SERVING), ("credit", SERVING), ("fraud", NOT_SERVING)]
)
async def test_check_answers_by_name(call, service, status):
    assert await check(call, service) == status


async def test_the_server_is_asked_without_the_gate_and_a_model_with_it(call, gate):
    await check(call, "")
    assert gate.seen == []
    await check(call, "credit")
    assert gate.seen == ["health:check"]


async def test_an_unknown_service_is_not_found(call):
    with pytest.raises(Refused) as refused:
        await check(call, "nobody")
    assert refused.value.code == 5


async def test_a_server_that_is_not_ready_does_not_serve(call, models):
    models.is_ready = False
    assert await check(call, "") == NOT_SERVING
    assert await check(call, "credit") == SERVING


async def test_health_under_policy_is_refused_to_who_may_not(call, build, gate):
    gate.denied = {"health:check"}
    with pytest.raises(Refused) as refused:
        await check(call, "", table=build(public_health=False))
    assert refused.value.code == 7


async def test_bytes_that_are_no_request_are_refused(build):
    with pytest.raises(Refused) as refused:
        await build().unary[f"{HEALTH}/Check"](Head(method="x"), b"\x0a\xff")
    assert refused.value.code == 13


async def test_list_names_the_models_that_the_caller_may_see(call, gate):
    gate.hidden = {"fraud"}
    response, _ = await call(f"{HEALTH}/List", HealthListRequest(), HealthListResponse)
    assert {name: s.status for name, s in response.statuses.items()} == {
        "": SERVING,
        SERVICE: SERVING,
        "credit": SERVING,
        "new": NOT_SERVING,
    }


async def one(message: bytes):
    yield message


async def test_watch_tells_at_once_and_then_every_change(build, models):
    watch = build().stream[f"{HEALTH}/Watch"]
    statuses = watch(Head(method="w"), one(HealthCheckRequest(service="late").SerializeToString()))
    async with asyncio.timeout(5):
        assert HealthCheckResponse.FromString(await anext(statuses)).status == UNKNOWN
        models.rows = [ModelStatus("late", "1", State.LOADING)]
        assert HealthCheckResponse.FromString(await anext(statuses)).status == NOT_SERVING
        models.rows = [ModelStatus("late", "1", State.READY)]
        assert HealthCheckResponse.FromString(await anext(statuses)).status == SERVING
    await statuses.aclose()


async def test_watch_of_a_model_passes_the_gate(build, gate):
    gate.denied = {"health:watch"}
    watch = build().stream[f"{HEALTH}/Watch"]
    with pytest.raises(Refused) as refused:
        await anext(watch(Head(method="w"), one(HealthCheckRequest(service="credit").SerializeToString())))
    assert refused.value.code == 7
