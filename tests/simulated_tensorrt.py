"""A GPU and a TensorRT that are not there: plans are built by the recorded calls, and ONNX Runtime
answers in their place from the host's memory. It shows what is called and what becomes of it, and
nothing of what TensorRT itself would answer.
"""

from __future__ import annotations

import ctypes
import json
import sys

import numpy as np

from bundle.engine import cuda
from bundle.engine.onnx import OnnxEngine
from tests.cuda_stand_in import CudaStandIn
from tests.tensorrt_stand_in import tensorrt_stand_in

DTYPES = {"float32": "FLOAT", "int64": "INT64", "uint8": "UINT8"}
MARK = b"a plan of "


class SimulatedTensorRT:
    """Of one graph at a time, the last that was parsed or loaded."""

    def __init__(self, monkeypatch, *, memory=2**30, **answers):
        self.module = tensorrt_stand_in(**{**self._building(), **self._running(), **answers})
        monkeypatch.setitem(sys.modules, "tensorrt", self.module)
        runtime = CudaStandIn(memory=memory)
        monkeypatch.setattr(cuda, "load_cuda", lambda: runtime)

    def calls(self, name):
        """The arguments of every call of that name."""
        return [arguments for called, *arguments in self.module.calls if called == name]

    def _building(self):
        return {
            "parse": self._parse,
            "num_errors": 0,
            "set_shape": lambda name, *shapes: self._profile.update({name: shapes}),
            "add_optimization_profile": 0,
            "set_timing_cache": True,
            "serialize": b"timed",
            "build_serialized_network": lambda network, config: self._plan(),
        }

    def _running(self):
        return {
            "deserialize_cuda_engine": self._load,
            "get_tensor_name": lambda index: list(self._specs)[index],
            "get_tensor_mode": lambda name: self.module.TensorIOMode[
                "INPUT" if name in self._shapes else "OUTPUT"
            ],
            "get_tensor_location": lambda name: self.module.TensorLocation.DEVICE,
            "get_tensor_dtype": lambda name: self.module.DataType[DTYPES[self._specs[name].dtype]],
            "get_tensor_shape": lambda name: self._arrays.get(name, self._specs[name]).shape,
            "get_tensor_profile_shape": lambda name, index: self._profile[name],
            "set_input_shape": self._set_shape,
            "infer_shapes": self._infer,
            "set_tensor_address": lambda name, to: self._addresses.update({name: to}) is None,
            "execute_async_v3": self._execute,
        }

    def _parse(self, graph):
        self._graph, self._profile = graph, {}
        return True

    def _plan(self):
        return MARK + json.dumps(self._profile).encode() + b"\n" + self._graph

    def _load(self, plan):
        profile, _, graph = plan.removeprefix(MARK).partition(b"\n")
        self._profile = json.loads(profile)
        self._engine = OnnxEngine(graph, provider="cpu", threads=1)
        self._shapes = {spec.name: spec.shape for spec in self._engine.inputs}
        self._specs = {spec.name: spec for spec in (*self._engine.inputs, *self._engine.outputs)}
        self._arrays, self._addresses = {}, {}
        self.module.answers["num_io_tensors"] = len(self._specs)
        return self.module.made("Engine")

    def _set_shape(self, name, shape):
        """Refused outside of what the plan was built for."""
        self._shapes[name] = shape
        fixed = [self._specs[name].shape] * 3
        least, _, most = self._profile.get(name, fixed)
        spans = zip(least, shape, most, strict=True)
        return all(low <= size <= high for low, size, high in spans)

    def _infer(self):
        zeros = {name: self._zeros(name, shape) for name, shape in self._shapes.items()}
        self._arrays = self._engine.predict_batch(zeros)
        return []

    def _zeros(self, name, shape):
        return np.zeros(shape, self._specs[name].dtype)

    def _execute(self, stream):
        inputs = {name: self._zeros(name, shape) for name, shape in self._shapes.items()}
        for name, array in inputs.items():
            ctypes.memmove(array.ctypes.data, self._addresses[name], array.nbytes)
        for name, array in self._engine.predict_batch(inputs).items():
            ctypes.memmove(self._addresses[name], array.ctypes.data, array.nbytes)
        return True
