"""What a result depends on besides its inputs: packages, the code of the passes, the machine."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime
import torch

from bundle.engine.cores import available_cores
from bundle.engine.cuda import find_gpu
from bundle.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGES = (
    "numpy",
    "pillow",
    "tokenizers",
    "transformers",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "protobuf",
    "openvino",
    "nncf",
    "tensorrt",
    "tensorrt-cu13",
    "nvidia-cudnn-cu13",
    "nvidia-cublas",
)
_ROOT = Path(__file__).resolve().parent.parent
_WRITING = (
    "bundle/engine",
    "bundle/preprocessing",
    "optimize/passes",
    "optimize/probes.py",
    "optimize/samples.py",
    "trainer/models",
)
_ANSWERING = (
    "bundle/engine",
    "bundle/preprocessing",
    "trainer/models",
    "optimize/assess.py",
    "optimize/contestant.py",
    "optimize/evaluate.py",
    "optimize/probes.py",
    "optimize/reference.py",
    "optimize/verify.py",
)
_CPUINFO = Path("/proc/cpuinfo")
_CPU_FACTS = ("model name", "flags", "Features", "CPU part")


@functools.cache
def packages() -> dict[str, str]:
    """The versions of what has a part in a graph, its answers and its speed."""
    found = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "onnxruntime": onnxruntime.__version__,  # its distribution has several names
    }
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {**found, **_nvidia()}


def _nvidia() -> dict[str, str]:
    """What lies below CUDA and has a part in the GPU's speed and answers, as far as it tells."""
    found: dict[str, str] = {}
    if torch.cuda.is_available():
        found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    with contextlib.suppress(Exception):  # an extra, with errors of its own where no driver is
        library = importlib.import_module("pynvml")
        library.nvmlInit()
        found["nvidia-driver"] = str(library.nvmlSystemGetDriverVersion())
    return found


@functools.cache
def writing_code() -> str:
    """sha256 of the code that makes graphs: models, passes, and what passes run and read."""
    return _hash_of(_WRITING)


@functools.cache
def answering_code() -> str:
    """sha256 of the code that asks graphs and models: preprocessing, engines, evaluation."""
    return _hash_of(_ANSWERING)


def _hash_of(names: Iterable[str]) -> str:
    total = hashlib.sha256()
    for name in names:
        found = _ROOT / name
        for path in [found] if found.is_file() else sorted(found.rglob("*.py")):
            total.update(path.relative_to(_ROOT).as_posix().encode())
            total.update(path.read_bytes())
    return total.hexdigest()


def machine() -> dict[str, str]:
    """What decides which kernels run here: the processor and what it can do, the device, cores."""
    gpu = _gpu()
    return _host() if gpu is None else {**_host(), "gpu": gpu}


def _gpu() -> str | None:
    """Its name, also where torch was built without CUDA and TensorRT computes."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    with contextlib.suppress(EngineError):
        return find_gpu().name
    return None


@functools.cache
def _host() -> dict[str, str]:
    found = {"machine": platform.machine(), "cores": str(available_cores())}
    if _CPUINFO.is_file():
        facts = dict(map(_fact, _CPUINFO.read_text(encoding="utf-8").splitlines()))
        found["cpu"] = facts.get("model name", platform.processor())
        wanted = "".join(facts.get(name, "") for name in _CPU_FACTS)
        found["cpu_features"] = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    return found


def _fact(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()
