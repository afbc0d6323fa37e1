"""A stand-in for `tensorrt` 11.1 that records every call, in order, with its arguments.

It has the names of the module's Python bindings and no others: what TensorRT 11 has removed is an
AttributeError here too. What a call answers is the test's own to say.
"""

from __future__ import annotations

import enum
from types import SimpleNamespace

METHODS = {
    "Builder": "create_network create_optimization_profile create_builder_config "
    "build_serialized_network is_network_supported reset get_plugin_registry",
    "Network": "get_input get_output mark_output",
    "OnnxParser": "parse parse_from_file supports_operator num_errors get_error clear_errors",
    "Config": "set_memory_pool_limit get_memory_pool_limit set_flag clear_flag get_flag "
    "add_optimization_profile create_timing_cache set_timing_cache get_timing_cache",
    "Profile": "set_shape get_shape set_shape_input get_shape_input extra_memory_target",
    "TimingCache": "serialize combine reset query queryKeys update",
    "Runtime": "deserialize_cuda_engine load_runtime get_plugin_registry",
    "Engine": "create_execution_context num_io_tensors get_tensor_name get_tensor_mode "
    "get_tensor_shape get_tensor_dtype get_tensor_location get_tensor_profile_shape serialize",
    "Context": "set_input_shape infer_shapes get_tensor_shape set_tensor_address "
    "get_tensor_address execute_async_v3 execute_v2 set_optimization_profile_async",
}
PROPERTIES = ("num_errors", "num_io_tensors")


class Recorded:
    """An object of the module; `answers` has values, or functions of the arguments."""

    def __init__(self, kind, calls, answers):
        self._kind, self._calls, self._answers = kind, calls, answers

    def __getattr__(self, name):
        if name not in METHODS[self._kind].split():
            raise AttributeError(f"{self._kind} of TensorRT 11 has no {name}")
        answer = self._answers.get(name)
        if name in PROPERTIES:
            return answer

        def method(*arguments, **keywords):
            self._calls.append((name, *arguments, *keywords.items()))
            return answer(*arguments, **keywords) if callable(answer) else answer

        return method


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = range(3)


def tensorrt_stand_in(*, version="11.1.0.106", **answers):
    """The module; `calls` has what was called, `answers` what is answered, `made` its objects."""
    calls: list[tuple] = []

    def made(kind):
        return Recorded(kind, calls, answers)

    def create(kind):
        def make(*arguments):
            calls.append((kind, *(type(argument).__name__ for argument in arguments)))
            module.logger = arguments[-1]
            if answers.get(kind) is TypeError:
                raise TypeError("pybind11::init(): factory function returned nullptr")
            return made(kind)

        return make

    defaults = {
        "create_network": lambda flags=0: made("Network"),
        "create_builder_config": lambda: made("Config"),
        "create_optimization_profile": lambda: made("Profile"),
        "create_timing_cache": lambda content: made("TimingCache"),
        "get_timing_cache": lambda: made("TimingCache"),
        "deserialize_cuda_engine": lambda plan: made("Engine"),
        "create_execution_context": lambda: made("Context"),
    }
    answers = {**defaults, **answers}
    module = SimpleNamespace(
        __version__=version,
        calls=calls,
        answers=answers,
        made=made,
        logger=None,
        ILogger=ILogger,
        MemoryPoolType=enum.Enum("MemoryPoolType", ["WORKSPACE"]),
        TensorIOMode=enum.Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"]),
        TensorLocation=enum.Enum("TensorLocation", ["DEVICE", "HOST"]),
        DataType=enum.Enum("DataType", ["FLOAT", "HALF", "INT64", "UINT8", "FP8"]),
        Builder=create("Builder"),
        OnnxParser=create("OnnxParser"),
        Runtime=create("Runtime"),
    )
    return module
