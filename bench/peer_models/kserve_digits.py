"""The digits model for KServe's Python server, as its documentation writes a custom predictor.

python kserve_digits.py GRPC_PORT HTTP_PORT
"""

import os
import sys

import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

DATATYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}


class Digits(Model):
    """ONNX Runtime with one thread, behind KServe's data plane."""

    def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(os.environ["DIGITS_ONNX"], options)
        self._outputs = [(output.name, DATATYPES[output.type]) for output in self._session.get_outputs()]
        self.ready = True
        return True

    async def predict(self, payload: InferRequest, headers: dict | None = None, **_: object) -> InferResponse:
        arrays = self._session.run(None, {"image": payload.inputs[0].as_numpy()})
        outputs = []
        for (name, datatype), array in zip(self._outputs, arrays, strict=True):
            output = InferOutput(name=name, shape=list(array.shape), datatype=datatype)
            output.set_data_from_numpy(array, binary_data=True)
            outputs.append(output)
        return InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=outputs)


if __name__ == "__main__":
    model = Digits("digits")
    model.load()
    ModelServer(grpc_port=int(sys.argv[1]), http_port=int(sys.argv[2]), enable_grpc=True, workers=1).start([model])
