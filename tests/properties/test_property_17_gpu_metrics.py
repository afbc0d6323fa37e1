"""Property 17: utilisation and memory of every GPU are tracked; without a driver nothing breaks."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from serving.gpu_metrics import GpuMetrics


class NVMLError(Exception):
    """As pynvml's, the root of its errors."""


def pynvml_stand_in(gpus):
    """The calls of pynvml that are made; `gpus` has what the driver would say."""

    def power(gpu):
        if gpu["watts"] is None:
            raise NVMLError("Not Supported")
        return gpu["watts"] * 1000

    return SimpleNamespace(
        NVMLError=NVMLError,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: len(gpus),
        nvmlDeviceGetHandleByIndex=gpus.__getitem__,
        nvmlDeviceGetUUID=lambda gpu: gpu["uuid"],
        nvmlDeviceGetUtilizationRates=lambda gpu: SimpleNamespace(gpu=gpu["percent"]),
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(total=gpu["total"], used=gpu["used"]),
        nvmlDeviceGetTemperature=lambda gpu, sensor: gpu["celsius"],
        nvmlDeviceGetPowerUsage=power,
        nvmlDeviceGetEnforcedPowerLimit=lambda gpu: 700_000,
        nvmlDeviceGetTotalEnergyConsumption=lambda gpu: 5_000,
    )


def scraped(metrics):
    """What Prometheus would read: name and UUID → value."""
    registry = CollectorRegistry()
    registry.register(metrics)
    lines = generate_latest(registry).decode().splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in samples}


GPU = st.fixed_dictionaries(
    {
        "percent": st.integers(0, 100),
        "total": st.integers(2**30, 2**40),
        "used": st.integers(0, 2**30),
        "celsius": st.integers(20, 100),
        "watts": st.none() | st.integers(20, 700),
    }
)


@given(gpus=st.lists(GPU, max_size=4))
def test_property_17_every_gpu_is_tracked_by_tritons_names(gpus, tmp_path_factory):
    gpus = [{**gpu, "uuid": f"GPU-{index}"} for index, gpu in enumerate(gpus)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pynvml", pynvml_stand_in(gpus))
        found = scraped(GpuMetrics(tmp_path_factory.getbasetemp()))

    expected = {}
    for gpu in gpus:
        values = {
            "nv_gpu_utilization": gpu["percent"] / 100,
            "nv_gpu_memory_total_bytes": gpu["total"],
            "nv_gpu_memory_used_bytes": gpu["used"],
            "nv_gpu_temperature_celsius": gpu["celsius"],
            "nv_gpu_power_usage": gpu["watts"],
            "nv_gpu_power_limit": 700,
            "nv_energy_consumption": 5,
        }
        expected |= {
            f'{name}{{gpu_uuid="{gpu["uuid"]}"}}': value
            for name, value in values.items()
            if value is not None
        }
    assert found == expected


def test_property_17_values_are_those_of_the_moment(monkeypatch, tmp_path):
    gpu = {"uuid": b"GPU-0", "percent": 10, "total": 100, "used": 1, "celsius": 30, "watts": 50}
    monkeypatch.setitem(sys.modules, "pynvml", pynvml_stand_in([gpu]))
    metrics = GpuMetrics(tmp_path)
    name = 'nv_gpu_memory_used_bytes{gpu_uuid="GPU-0"}'

    assert scraped(metrics)[name] == 1
    gpu["used"] = 7
    assert scraped(metrics)[name] == 7


def test_property_17_missing_driver_leaves_no_metric_and_one_line(monkeypatch, tmp_path, caplog):
    def absent():
        raise NVMLError("NVML Shared Library Not Found")

    module = pynvml_stand_in([])
    module.nvmlInit = absent
    monkeypatch.setitem(sys.modules, "pynvml", module)
    caplog.set_level(logging.INFO)

    for _ in range(3):  # as in three processes
        assert scraped(GpuMetrics(tmp_path)) == {}

    assert [record.getMessage() for record in caplog.records] == [
        "there are no GPU metrics: the driver does not answer: NVML Shared Library Not Found"
    ]


def test_property_17_machine_as_it_is_has_metrics_or_one_line(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    metrics = GpuMetrics(tmp_path)

    found = [scraped(metrics) for _ in range(2)][-1]

    assert bool(found) != bool(caplog.records)
    assert len(caplog.records) <= 1
