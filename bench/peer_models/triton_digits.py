"""The digits model for Triton's Python backend: the requests of a dynamic batch run together."""

import json
import os
import sys

sys.path[:0] = os.environ["PYTHONPATH"].split(":")  # the stub embeds an interpreter that ignores the variable

import numpy as np  # noqa: E402  # what follows is in that environment
import onnxruntime  # noqa: E402
import triton_python_backend_utils as backend  # noqa: E402


class TritonPythonModel:
    """ONNX Runtime with one thread, in the backend's stub process."""

    def initialize(self, args: dict) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(os.environ["DIGITS_ONNX"], options)
        self._names = [output["name"] for output in json.loads(args["model_config"])["output"]]

    def execute(self, requests: list) -> list:
        images = [backend.get_input_tensor_by_name(request, "image").as_numpy() for request in requests]
        arrays = self._session.run(self._names, {"image": np.concatenate(images)})
        responses, row = [], 0
        for image in images:
            end = row + len(image)
            outputs = [
                backend.Tensor(name, np.ascontiguousarray(array[row:end].reshape(len(image), -1)))
                for name, array in zip(self._names, arrays, strict=True)
            ]
            responses.append(backend.InferenceResponse(outputs))
            row = end
        return responses
