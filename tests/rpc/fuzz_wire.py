"""Coverage-guided fuzzing of what reads a caller's bytes: framing, and the codec behind it. Endless; a test bounds it.

    python tests/rpc/fuzz_wire.py [libFuzzer's options] tests/rpc/fuzz_seeds

The first byte says into what chunks the rest is cut, and whether that is gRPC frames or one message to be framed; what
comes out is read as inference.ModelInferRequest, validated, and answered with its own inputs.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["gateway.rpc", "gateway.serving", "gateway.transport"]):
    from gateway.errors import GatewayError, Unparsable
    from gateway.rpc.actions import INFER
    from gateway.rpc.codec import decode_infer, encode_reply
    from gateway.serving.signature import ModelSignature
    from gateway.serving.spec import TensorSpec
    from gateway.transport import compression
    from gateway.transport.framing import Assembler, frame, whole_message
    from gateway.transport.seam import Refused
    from gateway.types import Context, Credentials, Reply, ServableId, TraceContext

LIMIT = 1 << 16
CONTEXT = Context(
    action=INFER,
    trace=TraceContext(trace_id="1" * 32, span_id="2" * 16),
    credentials=Credentials(),
    received_us=1,
    received_ns=1,
)
SPECS = [TensorSpec("x", "FP32", (-1, 2)), TensorSpec("s", "BYTES", (-1,), optional=True)]
SIGNATURE = ModelSignature("m", SPECS, [TensorSpec("y", "FP32", (-1, 2))], max_batch_size=4)


def messages(data: bytes) -> list[bytes]:
    """What the transport would hand on. Raises: Refused."""
    size = data[0] % 64 + 1
    sent = frame(data[1:]) if data[0] & 128 else data[1:]
    chunks = [sent[start : start + size] for start in range(0, len(sent), size)]
    assembler, found = Assembler(LIMIT), []
    for chunk in chunks:
        for compressed, message in assembler.feed(chunk):
            assert len(message) <= LIMIT
            found.append(compression.decompress(b"gzip", message, LIMIT) if compressed else message)
    assert assembler.held <= LIMIT + 5
    whole = whole_message(sent)
    assert whole is None or found == [whole]
    return found


def one(data: bytes) -> None:
    """Everything ends in a call or in an error of ours; what is valid can be answered."""
    try:
        bodies = messages(data) if data else []
    except Refused:
        return
    for body in bodies:
        assert len(body) <= LIMIT
        try:
            call = decode_infer(body, CONTEXT)
        except Unparsable:
            continue
        if call.defect is not None:
            continue
        said = ""
        try:
            SIGNATURE.validate(call.inputs)
        except GatewayError as error:
            said = str(error)
        assert len(said) <= 1_000
        encode_reply(Reply(servable=ServableId("m", "1", "d"), call=call, outputs=call.inputs))


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
