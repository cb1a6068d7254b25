"""The digits model for MLServer, as its documentation writes a custom runtime."""

import os

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Digits(MLModel):
    """ONNX Runtime with one thread, behind MLServer's data plane."""

    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(os.environ["DIGITS_ONNX"], options)
        self._names = [output.name for output in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        image = NumpyCodec.decode_input(payload.inputs[0])
        arrays = self._session.run(self._names, {"image": image})
        outputs = [NumpyCodec.encode_output(name, array) for name, array in zip(self._names, arrays, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
