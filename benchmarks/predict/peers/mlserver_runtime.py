"""The model in MLServer: ONNX Runtime behind its interface for custom runtimes. Runs in MLServer's own environment.

MLServer's own scikit-learn runtime would be the pipeline of `feast_sklearn`, which takes milliseconds a row.
"""

from typing import Any

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput

__all__ = ["Onnx"]


class Onnx(MLModel):  # type: ignore[misc]  # MLServer is not installed where types are checked
    """One input of shape (rows, 1) for each named tensor; the output is the probability."""

    async def load(self) -> bool:
        """Read the model of `parameters.uri`, on one thread as the scorer does."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        parameters = self.settings.parameters
        self._session = onnxruntime.InferenceSession(parameters.uri, options, providers=["CPUExecutionProvider"])
        self._slope, self._offset = parameters.extra["slope"], parameters.extra["offset"]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The scores of the rows."""
        feeds = {one.name: _column(one) for one in payload.inputs}
        raw = self._session.run(None, feeds)[0].reshape(-1).astype(np.float64)
        scores = 1.0 / (1.0 + np.exp(-(self._slope * raw + self._offset)))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("score", scores)])


def _column(one: RequestInput) -> Any:
    if one.datatype == "BYTES":
        return np.array(StringCodec.decode_input(one), object).reshape(-1, 1)
    return NumpyCodec.decode_input(one).reshape(-1, 1)
