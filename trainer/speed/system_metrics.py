"""SystemMetrics: what a run takes of its machine, under the names that MLflow has a page for."""

from __future__ import annotations

import importlib
import resource
import sys
import time
from typing import Any

import psutil
import torch

_MEGABYTE = 1e6
_SECONDS = 1.0
"""Between two readings: they take longer than a small step."""
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


class SystemMetrics:
    """Of this process and machine and, where there are GPUs, of this process's GPU."""

    def __init__(self, *, gpu: int | None = None) -> None:
        """`gpu`: the index of the one that this process computes on."""
        self._process = psutil.Process()
        self._gpu = gpu
        self._nvml = None if gpu is None else _nvml(gpu)
        self._read_at = 0.0
        psutil.cpu_percent()  # the first answer has nothing to compare with

    def read(self) -> dict[str, float]:
        """The values by name; empty if the last reading was just now."""
        now = time.monotonic()
        if now - self._read_at < _SECONDS:
            return {}
        self._read_at = now
        high = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES
        found = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_percentage": psutil.virtual_memory().percent,
            "process_memory_megabytes": self._process.memory_info().rss / _MEGABYTE,
            "process_memory_peak_megabytes": high / _MEGABYTE,
        }
        return {f"system/{name}": float(value) for name, value in (found | self._of_gpu()).items()}

    def _of_gpu(self) -> dict[str, float]:
        if self._gpu is None:
            return {}
        name = f"gpu_{self._gpu}"
        found = {
            f"{name}_memory_peak_megabytes": torch.cuda.max_memory_allocated(self._gpu) / _MEGABYTE
        }
        if self._nvml is not None:
            library, handle = self._nvml
            used = library.nvmlDeviceGetMemoryInfo(handle).used
            busy = library.nvmlDeviceGetUtilizationRates(handle).gpu
            found[f"{name}_memory_usage_megabytes"] = used / _MEGABYTE
            found[f"{name}_utilization_percentage"] = float(busy)
        return found


def _nvml(gpu: int) -> tuple[Any, Any] | None:
    """NVIDIA's library and the device, if the library is there; it is an extra."""
    try:
        library = importlib.import_module("pynvml")
        library.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(gpu).uuid)
        return library, library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except Exception:  # noqa: BLE001 - whatever is wrong with it, training does not need it
        return None
