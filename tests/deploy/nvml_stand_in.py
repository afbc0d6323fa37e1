"""A module `pynvml` for a machine without a GPU: what the server asks of it, of one GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SOURCE = """
import time
from types import SimpleNamespace

NVML_TEMPERATURE_GPU = 0


class NVMLError(Exception):
    pass


def nvmlInit():
    pass


def nvmlDeviceGetCount():
    return 1


def nvmlDeviceGetHandleByIndex(index):
    return index


def nvmlDeviceGetUUID(gpu):
    return "GPU-stand-in"


def nvmlDeviceGetUtilizationRates(gpu):
    return SimpleNamespace(gpu=40)


def nvmlDeviceGetMemoryInfo(gpu):
    return SimpleNamespace(total=80 * 2**30, used=60 * 2**30)


def nvmlDeviceGetTemperature(gpu, sensor):
    return 55


def nvmlDeviceGetPowerUsage(gpu):
    return 300_000


def nvmlDeviceGetEnforcedPowerLimit(gpu):
    return 700_000


def nvmlDeviceGetTotalEnergyConsumption(gpu):
    return int(time.monotonic() * 300_000)
"""


def write_pynvml(folder: Path) -> str:
    """The folder, for PYTHONPATH."""
    folder.mkdir()
    (folder / "pynvml.py").write_text(_SOURCE)
    return str(folder)
