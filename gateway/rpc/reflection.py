"""Server reflection, v1 and v1alpha: tools such as grpcurl ask what is spoken here.

Descriptors come from the private pool, so they are exactly what the codec uses. Both versions have the same layout
on the wire; one set of classes serves them. It tells types, never models; opening a stream passes the gate once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from google.protobuf.descriptor import FileDescriptor

from gateway.errors import Code
from gateway.rpc.actions import HEALTH, INFERENCE, REFLECTION, reflect
from gateway.rpc.governed import Governed, parse
from gateway.rpc.status import refusal
from gateway.transport.seam import Head, Stream
from gateway.v1 import POOL
from gateway.v1.reflection_v1 import ServerReflectionRequest, ServerReflectionResponse

SERVICES: Final = (HEALTH, *REFLECTION, INFERENCE)


def reflection_methods(governed: Governed) -> dict[str, Stream]:
    """Handlers by full method name."""
    return {f"{service}/ServerReflectionInfo": _handler(governed, service) for service in REFLECTION}


def _handler(governed: Governed, service: str) -> Stream:
    action = reflect(service)

    async def handle(head: Head, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        asked = governed.context(head, action)
        try:
            await governed.gate.run(asked, None, lambda _: b"")
            async for body in messages:
                yield answer(parse(ServerReflectionRequest, body)).SerializeToString()
        except Exception as error:
            raise refusal(error, call_id=asked.call_id, trace_id=asked.trace.trace_id) from error

    return handle


def answer(request: ServerReflectionRequest) -> ServerReflectionResponse:
    """The answer to one question; what does not exist is an ``error_response``, and the stream goes on."""
    response = ServerReflectionResponse(valid_host=request.host, original_request=request)
    try:
        match request.WhichOneof("message_request"):
            case "list_services":
                for name in SERVICES:
                    response.list_services_response.service.add(name=name)
            case "file_by_filename":
                _describe(response, POOL.FindFileByName(request.file_by_filename))
            case "file_containing_symbol":
                _describe(response, POOL.FindFileContainingSymbol(request.file_containing_symbol))
            case "all_extension_numbers_of_type":
                message = POOL.FindMessageTypeByName(request.all_extension_numbers_of_type)
                response.all_extension_numbers_response.base_type_name = message.full_name  # proto3: no extensions
            case "file_containing_extension":
                extension = request.file_containing_extension
                raise KeyError(f"{extension.containing_type} has no extension {extension.extension_number}")
            case _:
                _refuse(response, Code.INVALID_ARGUMENT, "the request asks nothing")
    except KeyError as error:
        _refuse(response, Code.NOT_FOUND, str(error.args[0]))
    return response


def _describe(response: ServerReflectionResponse, file: FileDescriptor) -> None:
    """The file and everything it imports, so that one answer is enough."""
    described: dict[str, bytes] = {}
    waiting = [file]
    while waiting:
        file = waiting.pop()
        if file.name not in described:
            described[file.name] = file.serialized_pb
            waiting.extend(file.dependencies)
    response.file_descriptor_response.file_descriptor_proto.extend(described.values())


def _refuse(response: ServerReflectionResponse, code: Code, message: str) -> None:
    response.error_response.error_code = code.value
    response.error_response.error_message = message
