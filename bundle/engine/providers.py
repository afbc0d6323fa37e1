"""Providers: what ONNX Runtime can run models on, what each is told, and what comes after it."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime

from bundle.errors import EngineError, RequestError

if TYPE_CHECKING:
    from bundle.engine.profile import ShapeProfile

PROVIDERS = ("auto", "cpu", "cuda", "tensorrt", "openvino")
ON_GPU = ("cuda", "tensorrt")

RUNTIME_NAMES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
REMEDIES = {
    "cpu": "install onnxruntime",
    "cuda": "install trainyard[gpu] and the NVIDIA driver, or use provider=cpu",
    "tensorrt": "install trainyard[gpu,ort-trt] and the NVIDIA driver, or use provider=cuda "
    "or provider=cpu",
    "openvino": "install trainyard[openvino], or use provider=cpu",
}
FALLBACKS = {
    "auto": ("cuda", "cpu"),
    "cpu": ("cpu",),
    "cuda": ("cuda", "cpu"),
    "tensorrt": ("tensorrt", "cuda", "cpu"),
    "openvino": ("openvino", "cpu"),
}
"""What is tried, in order, where something else than asked for may run."""


@dataclass(frozen=True, kw_only=True)
class ProviderSettings:
    """What a provider needs to know besides the model."""

    threads: int
    stream: int | None = None
    """Address of the CUDA stream that everything runs in; None: one of ONNX Runtime's own."""
    cache: Path | None = None
    """Folder of this very model where TensorRT keeps its engines; None: they are built anew."""
    timings: Path | None = None
    """Folder where TensorRT keeps what it has timed, for all models."""
    profile: ShapeProfile | None = None
    """The sizes that TensorRT prepares for; None: those that it meets, one rebuild each."""

    def options(self, provider: str) -> dict[str, str]:
        if provider == "cuda" and self.stream is not None:
            return {"device_id": "0", "user_compute_stream": str(self.stream)}
        if provider == "tensorrt":
            return self._tensorrt()
        if provider == "openvino":
            hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": self.threads}
            return {"device_type": "CPU", "load_config": json.dumps({"CPU": hints})}
        return {}

    def _tensorrt(self) -> dict[str, str]:
        options = {"device_id": "0"}
        if self.stream is not None:
            options["user_compute_stream"] = str(self.stream)
        if self.cache is not None:
            options["trt_engine_cache_enable"] = "True"
            options["trt_engine_cache_path"] = str(self.cache)
        if self.timings is not None:
            options["trt_timing_cache_enable"] = "True"
            options["trt_timing_cache_path"] = str(self.timings)
        if self.profile is not None:
            options |= self.profile.provider_options()
        return options


def check_provider(provider: str) -> str:
    """The provider. Raises RequestError for a name that is none."""
    if provider not in PROVIDERS:
        raise RequestError(
            f"provider={provider!r} must be one of {', '.join(PROVIDERS)}", field="provider"
        )
    return provider


def built_in(provider: str) -> bool:
    """Whether the installed ONNX Runtime knows the provider, which says nothing of this machine."""
    return RUNTIME_NAMES[provider] in onnxruntime.get_available_providers()


def check_built_in(provider: str) -> None:
    """Raise EngineError if the installed ONNX Runtime was built without the provider."""
    if not built_in(provider):
        raise EngineError(
            f"provider={provider} is not in the installed ONNX Runtime {onnxruntime.__version__}",
            field="provider",
            remedy=REMEDIES[provider],
        )


def prepare(provider: str) -> None:
    """What must have happened before a session asks for the provider.

    ONNX Runtime opens NVIDIA's libraries by name and does not look into their wheels; a process
    that has imported torch has them open already, and a server has not.
    """
    if provider in ON_GPU:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            onnxruntime.preload_dlls()
    if provider == "tensorrt":
        # Its wheel brings its libraries and opens them. Without the wheel they may still be
        # installed on the system: the session tells.
        with contextlib.suppress(ImportError, OSError):
            importlib.import_module("tensorrt")


def library_problem(provider: str) -> str | None:
    """Why the provider's own library cannot be opened, which ONNX Runtime only logs; None if it can
    be, or has none.
    """
    name = f"libonnxruntime_providers_{provider}.so"
    path = Path(onnxruntime.__file__).parent / "capi" / name
    if not path.is_file():
        return None
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        return str(error)
    return None


def request(provider: str, settings: ProviderSettings) -> list[Any]:
    """The `providers` of a session: the one that is asked for, and those that it leans on."""
    return [
        (RUNTIME_NAMES[name], settings.options(name))
        for name in FALLBACKS[provider]
        if built_in(name)
    ]
