"""OpenVinoEngine: an ONNX model in Intel's OpenVINO, on the CPU."""

from __future__ import annotations

import importlib
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bundle.engine.base import InferenceEngine
from bundle.engine.cores import available_cores
from bundle.errors import EngineError, RequestError
from bundle.tensor import DYNAMIC, TensorSpec

if TYPE_CHECKING:
    from bundle.preprocessing.preprocessor import Array

REMEDY = "install trainyard[openvino], or use provider=cpu"
PRECISIONS = ("f32", "bf16", "f16")
HINTS = ("latency", "throughput")

_DTYPES = {
    "boolean": "bool",
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    **{f"{sign}{bits}": f"{kind}{bits}"
       for sign, kind in (("i", "int"), ("u", "uint"))
       for bits in (8, 16, 32, 64)},
}  # fmt: skip


class OpenVinoEngine(InferenceEngine):
    """Safe to call from several threads: every run has a request of its own, and gives it back."""

    def __init__(
        self,
        model: Path | str | bytes,
        *,
        threads: int | None = None,
        max_batch_size: int = 64,
        precision: str = "f32",
        hint: str = "latency",
        batchable: bool | None = None,
    ) -> None:
        """`model`: an ONNX file, or its content. `precision`: what layers compute in; OpenVINO left
        to itself takes bf16 where the CPU has it. `batchable`: None where the shapes decide.
        Raises EngineError, or RequestError for a wrong argument.
        """
        if precision not in PRECISIONS or hint not in HINTS:
            raise RequestError(
                f"precision={precision!r}, hint={hint!r} must be one of {', '.join(PRECISIONS)} "
                f"and one of {', '.join(HINTS)}",
                field="precision" if precision not in PRECISIONS else "hint",
            )
        if threads is not None and threads < 1:
            raise RequestError(f"threads={threads} must be 1 or more", field="threads")
        openvino = load_openvino()
        self._version = str(openvino.__version__).partition("-")[0]
        self._precision = precision
        options = {
            "PERFORMANCE_HINT": hint.upper(),
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads or available_cores(),
        }
        try:
            core = openvino.Core()
            graph = core.read_model(model if isinstance(model, bytes) else str(model))
            self._model = core.compile_model(graph, "CPU", options)
            self._threads = int(self._model.get_property("INFERENCE_NUM_THREADS"))
        except Exception as error:  # the runtime's exceptions share no class
            name = "the model" if isinstance(model, bytes) else Path(model).name
            raise EngineError(
                f"OpenVINO cannot load {name}: {_last_line(error)}", remedy="use provider=cpu"
            ) from error
        self._idle: deque[Any] = deque()
        super().__init__(
            inputs=tuple(map(_spec, self._model.inputs)),
            outputs=tuple(map(_spec, self._model.outputs)),
            max_batch_size=max_batch_size,
            batchable=batchable,
        )

    @property
    def name(self) -> str:
        return "openvino"

    @property
    def provider(self) -> str:
        return "openvino"

    def metadata(self) -> dict[str, Any]:
        return {
            **super().metadata(),
            "engine_version": self._version,
            "precision": self._precision,
            "threads": self._threads,
        }

    def _run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        request = self._request()
        try:
            results = request.infer(inputs, share_inputs=True)
            return {spec.name: np.array(results[index]) for index, spec in enumerate(self._outputs)}
        except Exception as error:  # the runtime's exceptions share no class
            raise EngineError(f"the model failed: {_last_line(error)}") from error
        finally:
            self._idle.append(request)

    def _request(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:  # all are at work
            return self._model.create_infer_request()


def load_openvino() -> Any:
    """The module `openvino`. Raises EngineError where it is not installed."""
    try:
        return importlib.import_module("openvino")
    except (ImportError, OSError) as error:
        raise EngineError(
            f"OpenVINO cannot be imported: {error}", field="provider", remedy=REMEDY
        ) from error


def openvino_missing() -> str | None:
    """Why OpenVINO cannot be used here; None if it can."""
    try:
        load_openvino()
    except EngineError as error:
        return str(error)
    return None


def _spec(port: Any) -> TensorSpec:
    name, kind = port.get_any_name(), port.get_element_type().get_type_name()
    if kind not in _DTYPES:
        raise EngineError(
            f"the model's {name!r} is of {kind}, which is not supported with OpenVINO",
            field=name,
            remedy="use provider=cpu",
        )
    sizes = port.get_partial_shape()
    shape = tuple(DYNAMIC if size.is_dynamic else size.get_length() for size in sizes)
    return TensorSpec(name=name, dtype=_DTYPES[kind], shape=shape)


def _last_line(error: Exception) -> str:
    """OpenVINO tells where it is first, and what is wrong last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
