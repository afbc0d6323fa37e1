"""OnnxEngine: ONNX Runtime, on the provider that was asked for or with the reason why not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from bundle.engine.base import InferenceEngine
from bundle.engine.cores import available_cores
from bundle.engine.signature import dimension_names, read_specs
from bundle.errors import EngineError, RequestError

if TYPE_CHECKING:
    from bundle.preprocessing.preprocessor import Array

PROVIDERS = ("auto", "cpu", "cuda", "tensorrt")

_RUNTIME_NAMES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_CHAINS = {"cpu": ("cpu",), "cuda": ("cuda", "cpu"), "tensorrt": ("tensorrt", "cuda", "cpu")}
_REMEDIES = {
    "cpu": "install onnxruntime",
    "cuda": "install trainyard[gpu] and the NVIDIA driver, or use provider=cpu",
    "tensorrt": "install onnxruntime-gpu with TensorRT 10, or use provider=cuda or provider=cpu",
}
_QUIET = 4
"""ONNX Runtime's severity "fatal": what fails is raised, so nothing needs to be printed too."""


class OnnxEngine(InferenceEngine):
    """Safe to call from several threads; holds the session for as long as it lives."""

    def __init__(
        self,
        model: Path | str | bytes,
        *,
        provider: str = "auto",
        threads: int | None = None,
        max_batch_size: int = 64,
    ) -> None:
        """`model`: a file, or its content. `threads`: within one operator, on the CPU; None takes
        the cores of this process. Raises EngineError, or RequestError for a wrong argument.
        """
        if provider not in PROVIDERS:
            raise RequestError(
                f"provider={provider!r} must be one of {', '.join(PROVIDERS)}", field="provider"
            )
        if threads is not None and threads < 1:
            raise RequestError(f"threads={threads} must be 1 or more", field="threads")
        self._requested = provider
        self._threads = threads or available_cores()
        self._fallback_reason: str | None = None
        self._session, self._provider = self._open(model, provider)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        super().__init__(
            inputs=read_specs(inputs),
            outputs=read_specs(outputs),
            max_batch_size=max_batch_size,
            dimension_names=dimension_names(inputs),
        )
        self._output_names = [output.name for output in outputs]

    @property
    def name(self) -> str:
        return "onnxruntime"

    @property
    def provider(self) -> str:
        return self._provider

    def metadata(self) -> dict[str, Any]:
        return {
            **super().metadata(),
            "engine_version": onnxruntime.__version__,
            "providers": self._session.get_providers(),
            "requested_provider": self._requested,
            "fallback_reason": self._fallback_reason,
            "threads": self._session.get_session_options().intra_op_num_threads,
        }

    def _open(self, model: Path | str | bytes, provider: str) -> tuple[Any, str]:
        if provider != "auto":
            return _open_session(model, provider, self._threads), provider
        try:
            return _open_session(model, "cuda", self._threads), "cuda"
        except EngineError as error:
            self._fallback_reason = str(error)
        return _open_session(model, "cpu", self._threads), "cpu"

    def _run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        try:
            results = self._session.run(self._output_names, inputs)
        except Exception as error:  # the runtime's exceptions share no class
            raise EngineError(f"the model failed: {_first_line(error)}") from error
        return dict(zip(self._output_names, map(np.asarray, results), strict=True))


def _open_session(model: Path | str | bytes, provider: str, threads: int) -> Any:
    """A session that really runs on the provider. Raises EngineError.

    The list of available providers says what was compiled in, not what this machine can run:
    only the finished session tells.
    """
    runtime_name = _RUNTIME_NAMES[provider]
    if runtime_name not in onnxruntime.get_available_providers():
        raise EngineError(
            f"provider={provider} is not in the installed ONNX Runtime {onnxruntime.__version__}",
            field="provider",
            remedy=_REMEDIES[provider],
        )
    try:
        session = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            session_options(threads),
            providers=[_RUNTIME_NAMES[name] for name in _available_chain(provider)],
            enable_fallback=0,
        )
    except Exception as error:  # the runtime's exceptions share no class
        name = "the model" if isinstance(model, bytes) else Path(model).name
        raise EngineError(
            f"ONNX Runtime cannot load {name} on {provider}: {_first_line(error)}",
            remedy=None if provider == "cpu" else _REMEDIES[provider],
        ) from error
    running = session.get_providers()
    if runtime_name not in running:
        raise EngineError(
            f"provider={provider} was asked for, but ONNX Runtime runs on {', '.join(running)}",
            field="provider",
            remedy=_REMEDIES[provider],
        )
    return session


def _available_chain(provider: str) -> list[str]:
    available = onnxruntime.get_available_providers()
    return [name for name in _CHAINS[provider] if _RUNTIME_NAMES[name] in available]


def session_options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    return options


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
