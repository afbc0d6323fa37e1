from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.training import same, train_tiny, weights
from trainer.metrics.metric import read_metrics
from trainer.schema import PrecisionName
from trainer.speed import throughput
from trainer.speed.model_flops import ModelFlops
from trainer.speed.peak import peak_tflops
from trainer.speed.performance import Performance, PerformanceFile
from trainer.speed.throughput import StepClock

BATCH = {"x": torch.zeros(4, 3), "label": torch.zeros(4, dtype=torch.int64)}


@pytest.fixture
def clock(monkeypatch):
    """A StepClock, and a list whose last number is the time."""
    now = [0.0]
    monkeypatch.setattr(throughput, "perf_counter", lambda: now[-1])
    return StepClock(), now


def test_clock_tells_waiting_from_working_and_leaves_out_the_rest(clock):
    found, now = clock
    for wait, work in [(1.0, 3.0)] * 19 + [(5.0, 15.0)]:
        now.append(now[-1] + wait)
        found.begin()
        now.append(now[-1] + work)
        found.end(BATCH, stepped=True)
        now.append(now[-1] + 100.0)  # a validation
        found.skip()
    window = found.read()
    assert window is not None
    assert window.metrics() == {
        "time/step": 96.0 / 20,
        "time/step_p95": 4.0,
        "time/data_share": 0.25,
        "throughput/samples": 80 / 96.0,
    }
    assert found.read() is None


def test_clock_counts_the_batches_of_a_step_together_when_gradients_are_accumulated(clock):
    found, now = clock
    batch = BATCH | {"input_ids": torch.zeros(4, 16)}
    for number in range(1, 5):
        now.append(now[-1] + 1.0)
        found.begin()
        found.end(batch, stepped=number % 2 == 0)
    window = found.read()
    assert window is not None
    assert window.seconds == (2.0, 2.0)
    assert window.metrics()["throughput/tokens"] == 64.0


class Net(nn.Module):
    """Dropout, batch statistics and weights that are shared."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.drop(self.first(self.norm(x))))


def test_flops_are_those_of_a_real_step_and_leave_the_model_alone():
    model = Net()
    before = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    flops = ModelFlops(model)
    counted = flops.count(BATCH)
    assert same(before, model.state_dict())
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(weight.grad is None for weight in model.parameters())
    with FlopCounterMode(display=False) as counter:
        model(BATCH["x"]).sum().backward()
    assert counted == counter.get_total_flops() / 4
    # Two layers of three by three forward; backward as much for the weights and for what came in.
    assert counted == 2 * (2 * 3 * 3) * 3


def test_flops_of_a_text_are_counted_by_the_token():
    model = nn.Embedding(10, 4)
    model.forward = lambda input_ids: nn.functional.embedding(input_ids, model.weight) @ WEIGHT
    batch = {"input_ids": torch.zeros(2, 8, dtype=torch.int64), "label": torch.zeros(2)}
    assert ModelFlops(model).count(batch) == 2 * 4 * 4 + 2 * 4 * 4


WEIGHT = torch.ones(4, 4)


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4),
        ("NVIDIA H100 PCIe", "bf16", 756.0),
        ("NVIDIA A100-SXM4-80GB", "fp32", 19.5),
        ("NVIDIA GeForce RTX 4090", "fp16", 165.2),
        ("Tesla T4", "fp16", 65.0),
        ("NVIDIA L40S", "bf16", 362.0),
        ("Some GPU of 2040", "bf16", None),
    ],
)
def test_peak_is_found_by_the_gpus_name(name, precision, peak):
    assert peak_tflops(name, PrecisionName(precision)) == peak


def test_file_keeps_the_first_measurement_when_steps_are_repeated(tmp_path):
    path = tmp_path / "performance.csv"
    first = PerformanceFile(path, resumed=False)
    first.log_metrics({"time/step": 0.5}, step=10)
    first.log_metrics({"time/step": 0.6}, step=20)
    first.close()
    again = PerformanceFile(path, resumed=True)
    for step in (20, 30):
        again.log_metrics({"time/step": 0.7}, step=step)
    again.close()
    assert [(row.step, row.value) for row in read_metrics(path)] == [
        (10, 0.5),
        (20, 0.6),
        (30, 0.7),
    ]


def test_run_records_its_speed_and_is_not_changed_by_it(tmp_path, monkeypatch):
    train_tiny(tmp_path / "measured", "trainer.max_epochs=2", "trainer.peak_tflops=0.5")
    rows = read_metrics(tmp_path / "measured" / "performance.csv")
    values = {row.name: row.value for row in rows}
    assert set(values) >= {
        *("time/step", "time/step_p95", "time/data_share", "time/epoch"),
        *("throughput/samples", "throughput/epoch_samples", "throughput/tflops", "throughput/mfu"),
        *("system/process_memory_megabytes", "system/cpu_utilization_percentage"),
    }
    assert 0 <= values["time/data_share"] <= 1
    assert values["throughput/mfu"] == pytest.approx(values["throughput/tflops"] / 0.5)
    assert [row.step for row in rows if row.name == "time/epoch"] == [5, 10]
    assert [row.step for row in rows if row.name == "time/step"] == [2, 4, 5, 6, 8, 10]

    for name in ("begin", "end", "record", "begin_epoch", "end_epoch"):
        monkeypatch.setattr(Performance, name, lambda *a, **k: None)
    train_tiny(tmp_path / "plain", "trainer.max_epochs=2")
    measured, plain = (tmp_path / name for name in ("measured", "plain"))
    assert read_metrics(measured / "metrics.csv") == read_metrics(plain / "metrics.csv")
    last = "checkpoints/last.ckpt"
    assert same(weights(measured / last), weights(plain / last))
    assert [row.name for row in read_metrics(plain / "performance.csv")] == []
