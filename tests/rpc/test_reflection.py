"""Reflection: what a tool needs to call us without our files, from either version of the service."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from gateway.rpc.actions import HEALTH, INFERENCE, REFLECTION
from gateway.rpc.reflection import answer
from gateway.transport.seam import Head, Refused
from gateway.v1.reflection_v1 import ExtensionRequest, ServerReflectionRequest, ServerReflectionResponse
from gateway.v1.reflection_v1alpha import ServerReflectionRequest as AlphaRequest


async def asked(build, service: str, *requests) -> list[ServerReflectionResponse]:
    async def messages():
        for request in requests:
            yield request.SerializeToString()

    stream = build(reflection=True).stream[f"{service}/ServerReflectionInfo"]
    return [ServerReflectionResponse.FromString(a) async for a in stream(Head(method="r"), messages())]


@pytest.mark.parametrize("service", REFLECTION)
async def test_both_versions_list_every_service(build, gate, service):
    (listed,) = await asked(build, service, AlphaRequest(list_services="*"))
    assert [s.name for s in listed.list_services_response.service] == [HEALTH, *REFLECTION, INFERENCE]
    assert gate.seen == ["metadata:reflect"]


@pytest.mark.parametrize("symbol", [INFERENCE, "inference.ModelInferRequest", HEALTH, *REFLECTION])
def test_one_answer_is_enough_to_build_the_types(symbol):
    response = answer(ServerReflectionRequest(file_containing_symbol=symbol))
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(file)
        for file in response.file_descriptor_response.file_descriptor_proto
    ]
    pool = descriptor_pool.DescriptorPool()
    while files:
        ready = [f for f in files if not {*f.dependency} & {other.name for other in files}]
        for file in ready:
            pool.Add(file)
            files.remove(file)
    assert pool.FindFileContainingSymbol(symbol)


def test_a_file_is_found_by_its_name():
    response = answer(ServerReflectionRequest(file_by_filename="inference.proto"))
    assert len(response.file_descriptor_response.file_descriptor_proto) == 2


@pytest.mark.parametrize(
    "request_",
    [
        ServerReflectionRequest(file_by_filename="nothing.proto"),
        ServerReflectionRequest(file_containing_symbol="no.such.Thing"),
        ServerReflectionRequest(all_extension_numbers_of_type="no.such.Thing"),
        ServerReflectionRequest(file_containing_extension=ExtensionRequest(containing_type="x", extension_number=1)),
    ],
)
def test_what_does_not_exist_is_an_error_in_the_answer(request_):
    response = answer(request_)
    assert response.error_response.error_code == 5
    assert response.error_response.error_message
    assert response.original_request == request_


def test_no_extensions_are_told_for_a_message_that_exists():
    response = answer(ServerReflectionRequest(all_extension_numbers_of_type="inference.ModelConfig"))
    assert response.all_extension_numbers_response.base_type_name == "inference.ModelConfig"


async def test_reflection_is_off_unless_switched_on(build):
    assert not any("reflection" in method for method in build().stream)


async def test_who_may_not_is_refused(build, gate):
    gate.denied = {"metadata:reflect"}
    with pytest.raises(Refused) as refused:
        await asked(build, REFLECTION[0], ServerReflectionRequest(list_services="*"))
    assert refused.value.code == 7


async def test_a_request_that_asks_nothing_is_told_so(build):
    (response,) = await asked(build, REFLECTION[0], ServerReflectionRequest(host="h"))
    assert (response.error_response.error_code, response.valid_host) == (3, "h")


def test_the_types_that_reflection_builds_speak_our_wire():
    response = answer(ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"))
    pool = descriptor_pool.DescriptorPool()
    for file in response.file_descriptor_response.file_descriptor_proto:
        pool.AddSerializedFile(file)
    request = message_factory.GetMessageClass(pool.FindMessageTypeByName("grpc.health.v1.HealthCheckRequest"))
    assert request(service="x").SerializeToString() == b"\x0a\x01x"
