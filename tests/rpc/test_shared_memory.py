"""The shared-memory RPCs: off unless switched on, on with the words that clients match, CUDA never."""

from __future__ import annotations

import pytest

from gateway.rpc.shared_regions import Registered, SharedRegions
from gateway.shared_file import SharedFile
from gateway.transport.seam import Refused
from gateway.v1 import inference as v1


@pytest.fixture
def on(build, tmp_path):
    """The table of a server that shares memory, with 16 bytes of it."""
    (tmp_path / "mem").write_bytes(b"0123456789abcdef")
    shared = SharedFile(tmp_path / "regions", Registered, Registered(), epoch="1")
    regions = SharedRegions(shared, str(tmp_path))
    yield build(memory=regions)
    regions.close()


def register(name="r", key="/mem", offset=0, byte_size=16):
    return v1.SystemSharedMemoryRegisterRequest(name=name, key=key, offset=offset, byte_size=byte_size)


async def ask(call, method, request, table=None):
    response = getattr(v1, f"{method}Response")
    options = {} if table is None else {"table": table}
    return (await call(method, request, response, **options))[0]


async def test_it_is_disabled_unless_switched_on(call):
    for method, request in (
        ("SystemSharedMemoryRegister", register()),
        ("SystemSharedMemoryUnregister", v1.SystemSharedMemoryUnregisterRequest()),
    ):
        with pytest.raises(Refused, match=r"^Client shared memory is disabled") as refused:
            await ask(call, method, request)
        assert refused.value.code == 12
    status = await ask(call, "SystemSharedMemoryStatus", v1.SystemSharedMemoryStatusRequest())
    assert not status.regions


async def test_a_region_is_registered_listed_and_forgotten(call, on, gate):
    await ask(call, "SystemSharedMemoryRegister", register(offset=2, byte_size=8), on)
    assert (gate.facts.kind, gate.facts.region, gate.facts.key, gate.facts.byte_size) == ("system", "r", "/mem", 8)
    status = await ask(call, "SystemSharedMemoryStatus", v1.SystemSharedMemoryStatusRequest(), on)
    assert [(r.name, r.key, r.offset, r.byte_size) for r in status.regions.values()] == [("r", "/mem", 2, 8)]
    await ask(call, "SystemSharedMemoryUnregister", v1.SystemSharedMemoryUnregisterRequest(), on)
    assert gate.facts.all
    status = await ask(call, "SystemSharedMemoryStatus", v1.SystemSharedMemoryStatusRequest(), on)
    assert not status.regions


async def test_tensors_come_from_and_go_to_regions(call, on, tmp_path):
    await ask(call, "SystemSharedMemoryRegister", register(), on)
    request = v1.ModelInferRequest(model_name="credit")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1])
    output = request.outputs.add(name="y")
    for parameters, offset in ((tensor.parameters, 0), (output.parameters, 8)):
        parameters["shared_memory_region"].string_param = "r"
        parameters["shared_memory_byte_size"].int64_param = 4
        parameters["shared_memory_offset"].int64_param = offset
    reply = await ask(call, "ModelInfer", request, on)
    assert list(reply.raw_output_contents) == [b""]
    assert list(reply.outputs[0].shape) == [1]
    assert (tmp_path / "mem").read_bytes() == b"012345670123cdef"


@pytest.mark.parametrize(
    ("size", "code", "text"),
    [(17, 3, "Invalid offset \\+ byte size"), (None, 3, "go together"), (2, 13, "should be at")],
)
async def test_a_region_that_does_not_fit_is_refused(call, on, size, code, text):
    await ask(call, "SystemSharedMemoryRegister", register(), on)
    request = v1.ModelInferRequest(model_name="credit", raw_input_contents=[b"1234"])
    request.inputs.add(name="x", datatype="FP32", shape=[1])
    parameters = (request.outputs if size == 2 else request.inputs).add(name="y").parameters
    parameters["shared_memory_region"].string_param = "r"
    if size:
        parameters["shared_memory_byte_size"].int64_param = size
    with pytest.raises(Refused, match=text) as refused:
        await ask(call, "ModelInfer", request, on)
    assert refused.value.code == code


async def test_cuda_regions_are_none_and_stay_none(call, gate):
    status = await ask(call, "CudaSharedMemoryStatus", v1.CudaSharedMemoryStatusRequest())
    assert not status.regions
    await ask(call, "CudaSharedMemoryUnregister", v1.CudaSharedMemoryUnregisterRequest())
    with pytest.raises(Refused, match="CUDA shared memory is not served") as refused:
        await ask(call, "CudaSharedMemoryRegister", v1.CudaSharedMemoryRegisterRequest(name="c", byte_size=2**64 - 1))
    assert refused.value.code == 12
    assert gate.facts.byte_size == 2**63 - 1


@pytest.mark.parametrize("action", ["system_register", "system_status", "system_unregister", "cuda_register"])
async def test_every_one_of_them_is_decided(call, on, gate, action):
    gate.denied = {f"shared-memory:{action}"}
    kind, verb = action.split("_")
    method = f"{kind.title()}SharedMemory{verb.title()}"
    with pytest.raises(Refused) as refused:
        await ask(call, method, getattr(v1, f"{method}Request")(name="r"), on)
    assert refused.value.code == 7


async def test_shared_memory_is_no_way_around_the_limit_on_messages(call, build, tmp_path):
    (tmp_path / "mem").write_bytes(bytes(16))
    shared = SharedFile(tmp_path / "few", Registered, Registered(), epoch="1")
    regions = SharedRegions(shared, str(tmp_path), max_bytes=20)
    table = build(memory=regions)
    await ask(call, "SystemSharedMemoryRegister", register(), table)
    request = v1.ModelInferRequest(model_name="credit")
    for name in ("x", "z"):  # the same bytes, named twice, are read twice
        parameters = request.inputs.add(name=name, datatype="FP32", shape=[4]).parameters
        parameters["shared_memory_region"].string_param = "r"
        parameters["shared_memory_byte_size"].int64_param = 16
    with pytest.raises(Refused, match="32 bytes and more; 20 are allowed") as refused:
        await ask(call, "ModelInfer", request, table)
    assert refused.value.code == 8
    regions.close()
