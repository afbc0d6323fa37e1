"""TensorRTEngine: a plan in TensorRT itself, without ONNX Runtime around it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.engine.base import InferenceEngine
from bundle.engine.cuda import DeviceBuffer, Stream, find_gpu
from bundle.engine.plan import REMEDY, PlanKey, explain, load_tensorrt, message_log
from bundle.errors import EngineError, InputError
from bundle.tensor import TensorSpec

if TYPE_CHECKING:
    from bundle.preprocessing.preprocessor import Array

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}


class TensorRTEngine(InferenceEngine):
    """Safe to call from several threads, one at a time: a context and its buffers are one."""

    def __init__(self, plan: Path | str | bytes, *, max_batch_size: int = 64) -> None:
        """`plan`: a file, whose name must say that it was built for this machine, or its content.

        Raises EngineError.
        """
        trt = load_tensorrt()
        self._key = PlanKey.of(trt, find_gpu())
        if not isinstance(plan, bytes):
            self._key.check(Path(plan).name)
        content = plan if isinstance(plan, bytes) else _read(Path(plan))
        self._log = message_log(trt)
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise EngineError(f"TensorRT cannot load the plan: {explain(self._log)}", remedy=REMEDY)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"TensorRT cannot prepare the plan: {explain(self._log)}")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        inputs = tuple(
            self._spec(trt, name) for name in names if modes[name] == trt.TensorIOMode.INPUT
        )
        outputs = tuple(
            self._spec(trt, name) for name in names if modes[name] == trt.TensorIOMode.OUTPUT
        )
        super().__init__(
            inputs=inputs,
            outputs=outputs,
            max_batch_size=min(max_batch_size, *map(self._largest_batch, inputs)),
        )
        self._stream = Stream()
        self._buffers = {name: DeviceBuffer() for name in names}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return "tensorrt"

    @property
    def provider(self) -> str:
        return "tensorrt"

    def metadata(self) -> dict[str, Any]:
        return {
            **super().metadata(),
            "engine_version": self._key.tensorrt,
            "gpu": self._key.gpu,
            "compute_capability": self._key.capability,
        }

    def _spec(self, trt: Any, name: str) -> TensorSpec:
        if self._engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise EngineError(f"the plan's {name!r} is no tensor of the GPU", field=name)
        kind = self._engine.get_tensor_dtype(name).name
        if kind not in _DTYPES:
            raise EngineError(
                f"the plan's {name!r} has the element type {kind}, which is not supported",
                field=name,
            )
        shape = tuple(map(int, self._engine.get_tensor_shape(name)))
        return TensorSpec(name=name, dtype=_DTYPES[kind], shape=shape)

    def _largest_batch(self, spec: TensorSpec) -> int:
        """The first size of the profile's largest shape: more is run in pieces."""
        if not spec.batchable:
            return 1
        _, _, largest = self._engine.get_tensor_profile_shape(spec.name, 0)
        return int(next(iter(largest)))

    def _run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        with self._lock:
            for name, array in inputs.items():
                if not self._context.set_input_shape(name, tuple(array.shape)):
                    raise self._refusal(name, array)
            self._infer_shapes()
            for name, array in inputs.items():
                self._buffers[name].send(array, self._stream)
            shapes = {spec.name: self._output_shape(spec) for spec in self._outputs}
            for spec in self._outputs:
                count = int(np.prod(shapes[spec.name], dtype=np.int64))
                self._buffers[spec.name].reserve(count * np.dtype(spec.dtype).itemsize)
            for name, buffer in self._buffers.items():
                if not self._context.set_tensor_address(name, buffer.address):
                    raise EngineError(f"TensorRT refuses memory: {explain(self._log)}", field=name)
            if not self._context.execute_async_v3(self._stream.handle):
                raise EngineError(f"the model failed: {explain(self._log)}")
            return self._collect(shapes)

    def _infer_shapes(self) -> None:
        try:
            unknown = self._context.infer_shapes()
        except RuntimeError as error:
            raise EngineError(f"the plan takes no such shapes: {explain(self._log)}") from error
        if unknown:
            raise EngineError(f"the plan cannot tell the shape of {', '.join(unknown)}")

    def _collect(self, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
        for spec in self._outputs:
            count = int(np.prod(shapes[spec.name], dtype=np.int64))
            self._buffers[spec.name].receive(count * np.dtype(spec.dtype).itemsize, self._stream)
        self._stream.synchronize()
        return {
            spec.name: self._buffers[spec.name]
            .view(np.dtype(spec.dtype), shapes[spec.name])
            .copy()  # the next run overwrites it
            for spec in self._outputs
        }

    def _output_shape(self, spec: TensorSpec) -> tuple[int, ...]:
        shape = tuple(map(int, self._context.get_tensor_shape(spec.name)))
        if any(size < 0 for size in shape):
            raise EngineError(
                f"the shape of {spec.name!r} depends on the data, which is not supported",
                field=spec.name,
            )
        return shape

    def _refusal(self, name: str, array: Array) -> InputError:
        least, _, most = map(tuple, self._engine.get_tensor_profile_shape(name, 0))
        return InputError(
            f"inputs.{name} has shape {list(array.shape)}, but the plan takes "
            f"{list(least)} to {list(most)}",
            field=f"inputs.{name}",
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(f"the plan {path.name} cannot be read: {error.strerror}") from error
