"""The messages: fresh, private, and field by field those of Triton's own client."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor

from gateway.v1 import POOL

ROOT = Path(__file__).resolve().parents[2]


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "proto" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_committed_is_what_the_sources_give():
    assert generator().stale(ROOT / "gateway" / "v1") == []


def test_a_changed_file_is_found_stale(tmp_path: Path):
    made = generator()
    made.generate(tmp_path)
    (tmp_path / "health.py").write_text("")
    (tmp_path / "inference.pyi").unlink()
    assert made.stale(tmp_path) == ["health.py", "inference.pyi"]


@pytest.mark.parametrize("script", ["import gateway.rpc.service, {}", "import {}, gateway.rpc.service"])
@pytest.mark.parametrize("other", ["tritonclient.grpc", "tritonclient.grpc.aio"])
def test_both_import_in_one_process_in_either_order(script: str, other: str):
    # Packages that cannot live in this environment: tests/conformance/test_oip_other_clients.py.
    subprocess.run([sys.executable, "-W", "error", "-c", script.format(other)], check=True, timeout=60)


def shape(message: Descriptor) -> dict[str, object]:
    """What the wire fixes of a message: numbers, names, types, labels, oneofs, presence; nested ones too."""
    fields = {
        f.number: (
            f.name,
            f.type,
            f.is_repeated,
            f.containing_oneof.name if f.containing_oneof else "",
            f.message_type.full_name if f.message_type else f.enum_type.full_name if f.enum_type else "",
        )
        for f in message.fields
    }
    nested = {m.name: shape(m) for m in message.nested_types}
    return {"fields": fields, "nested": nested, "enums": {e.name: values(e) for e in message.enum_types}}


def values(enum: EnumDescriptor) -> dict[str, int]:
    return {value.name: value.number for value in enum.values}


def theirs():
    from tritonclient.grpc import model_config_pb2, service_pb2

    return [service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR]


def test_messages_equal_those_of_tritonclient_field_by_field():
    compared = 0
    for file in theirs():
        for name, message in file.message_types_by_name.items():
            assert shape(POOL.FindMessageTypeByName(f"inference.{name}")) == shape(message), name
            compared += 1
        for name, enum in file.enum_types_by_name.items():
            assert values(POOL.FindEnumTypeByName(f"inference.{name}")) == values(enum)
    assert compared > 60


def test_we_declare_nothing_that_tritonclient_does_not_know():
    known = {name for file in theirs() for name in file.message_types_by_name}
    ours = [POOL.FindFileByName(name) for name in ("inference.proto", "model_config.proto")]
    assert {name for file in ours for name in file.message_types_by_name} == known


def test_the_service_has_the_same_methods():
    their = theirs()[0].services_by_name["GRPCInferenceService"]
    our = POOL.FindServiceByName("inference.GRPCInferenceService")

    def methods(service):
        return {
            m.name: (m.input_type.full_name, m.output_type.full_name, m.client_streaming, m.server_streaming)
            for m in service.methods
        }

    assert methods(our) == methods(their)
