"""Binding: inputs that lie on the GPU when ONNX Runtime starts, through page-locked memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.engine.cuda import DeviceBuffer
from bundle.errors import EngineError, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bundle.engine.cuda import Stream
    from bundle.preprocessing.preprocessor import Array

DEVICE = "cuda"
"""ONNX Runtime's name of where the buffers are."""


class Binding:
    """One run at a time: the buffers are used again for every batch.

    The session must run in `stream`: its copies, the model and the copies back are one order.
    """

    def __init__(self, session: Any, stream: Stream, outputs: Sequence[str]) -> None:
        self._session = session
        self._stream = stream
        self._outputs = tuple(outputs)
        self._buffers: dict[str, DeviceBuffer] = {}
        self._lock = threading.Lock()

    def run(self, inputs: dict[str, Array]) -> list[Array]:
        """The outputs, on the host. Raises EngineError, or whatever ONNX Runtime raises."""
        with self._lock:
            binding = self._session.io_binding()
            for name, array in inputs.items():
                buffer = self._buffers.setdefault(name, DeviceBuffer())
                buffer.send(array, self._stream)
                binding.bind_input(name, DEVICE, 0, array.dtype, array.shape, buffer.address)
            for name in self._outputs:
                binding.bind_output(name, DEVICE, 0)  # ONNX Runtime finds room for any shape
            try:
                self._session.run_with_iobinding(binding)
            except RuntimeError as error:  # what ONNX Runtime raises here, and only here
                raise EngineError(f"the model failed: {first_line(error)}") from error
            self._stream.synchronize()  # ONNX Runtime leaves a stream that is not its own to us
            return [np.asarray(output) for output in binding.copy_outputs_to_cpu()]
