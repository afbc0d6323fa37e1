"""GpuMetrics: what NVIDIA's driver says of the GPUs, by the names that Triton gives it.

Read when /metrics is asked for, by the process that answers: the driver knows all processes' share.
"""

from __future__ import annotations

import importlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from prometheus_client.core import Metric

log = logging.getLogger(__name__)

LABELS = ("gpu_uuid",)
MARKER = "gpu-metrics-absent"
"""A file that the first process to miss the driver leaves for the others, so that one says so."""


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """One metric, and the call of pynvml that answers it."""

    name: str
    text: str
    read: Callable[[Any, Any], float]


_READINGS = (
    _Reading(
        name="nv_gpu_utilization",
        text="Share of the last moments in which the GPU computed, 0 to 1.",
        read=lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
    ),
    _Reading(
        name="nv_gpu_memory_total_bytes",
        text="Memory of the GPU, in bytes.",
        read=lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total,
    ),
    _Reading(
        name="nv_gpu_memory_used_bytes",
        text="Memory of the GPU in use, by whatever process, in bytes.",
        read=lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
    ),
    _Reading(
        name="nv_gpu_temperature_celsius",
        text="Temperature of the GPU, in degrees Celsius.",
        read=lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
    ),
    _Reading(
        name="nv_gpu_power_usage",
        text="Power that the GPU draws, in watts.",
        read=lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3,
    ),
    _Reading(
        name="nv_gpu_power_limit",
        text="Power that the GPU may draw, in watts.",
        read=lambda nvml, gpu: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1e3,
    ),
    _Reading(
        name="nv_energy_consumption",
        text="Energy that the GPU has used since the driver was loaded, in joules.",
        read=lambda nvml, gpu: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3,
    ),  # it counts, but a counter's name would get "_total", which Triton's has not
)


class GpuMetrics:
    """A collector for prometheus_client. Without a driver it has no metrics: one line says so."""

    def __init__(self, directory: Path) -> None:
        """`directory`: one that all processes of the server share."""
        self._directory = directory
        self._lock = threading.Lock()
        self._nvml: Any = None
        self._gpus: dict[str, Any] | None = None
        """Handle by UUID; None until the driver was asked for."""

    def collect(self) -> Iterator[Metric]:
        """What can be read of each GPU now."""
        for reading in _READINGS:
            family = GaugeMetricFamily(reading.name, reading.text, labels=LABELS)
            for uuid, gpu in self._find().items():
                try:
                    family.add_metric([uuid], float(reading.read(self._nvml, gpu)))
                except self._nvml.NVMLError:  # not every GPU answers every question
                    continue
            if family.samples:
                yield family

    def _find(self) -> dict[str, Any]:
        with self._lock:
            if self._gpus is None:
                self._gpus = self._open()
            return self._gpus

    def _open(self) -> dict[str, Any]:
        try:
            self._nvml = importlib.import_module("pynvml")
        except ImportError as error:
            _tell(f"nvidia-ml-py cannot be imported: {error}", self._directory)
            return {}
        try:
            self._nvml.nvmlInit()
            handles = map(
                self._nvml.nvmlDeviceGetHandleByIndex, range(self._nvml.nvmlDeviceGetCount())
            )
            return {_text(self._nvml.nvmlDeviceGetUUID(handle)): handle for handle in handles}
        except self._nvml.NVMLError as error:
            _tell(f"the driver does not answer: {error}", self._directory)
            return {}


def _tell(reason: str, directory: Path) -> None:
    """One line for all processes of the server, however many ask and however often they respawn."""
    try:
        (directory / MARKER).touch(exist_ok=False)
    except FileExistsError:
        return
    log.info("there are no GPU metrics: %s", reason)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
