from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from trainer.build import build_optimizer
from trainer.models.resnet import ResNet
from trainer.optimizers import parameter_groups, rate_factor
from trainer.schema import Schedule


def test_norms_and_biases_get_no_weight_decay():
    model = ResNet(num_classes=3, channels=1, blocks=[1], widths=[4], small_stem=True)
    decayed, plain = parameter_groups(model, weight_decay=0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert decayed["weight_decay"] == 0.1
    assert plain["weight_decay"] == 0
    assert {names[id(p)] for p in plain["params"]} >= {"bn1.weight", "bn1.bias", "fc.bias"}
    assert {names[id(p)] for p in decayed["params"]} >= {"conv1.weight", "fc.weight"}
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


@pytest.mark.parametrize("overrides", [["optim=adamw"], ["optim=sgd", "optim.momentum=0.8"]])
def test_optimizer_has_the_configs_numbers(config, overrides):
    cfg = config(*overrides, "optim.lr=0.25", "optim.weight_decay=0.5")
    optimizer = build_optimizer(cfg, torch.nn.Linear(2, 2))
    assert optimizer.defaults["lr"] == 0.25
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    if "optim=sgd" in overrides:
        assert optimizer.defaults["momentum"] == 0.8


@example(schedule=Schedule.cosine, total=2, warmup=0.75, floor=0.0)
@given(
    schedule=st.sampled_from(Schedule),
    total=st.integers(2, 10_000),
    warmup=st.floats(0, 0.9),
    floor=st.floats(0, 1),
)
def test_rate_rises_then_never_rises_again(schedule, total, warmup, floor):
    factor = rate_factor(schedule, total_steps=total, warmup=warmup, floor=floor)
    steps = sorted({*range(min(total, 50)), *range(0, total + 1, max(1, total // 50)), total})
    rates = [factor(step) for step in steps]
    warm = round(warmup * total)
    assert all(0 <= rate <= 1 + 1e-9 for rate in rates)
    falling = [rate for step, rate in zip(steps, rates, strict=True) if step >= warm]
    assert all(a >= b - 1e-9 for a, b in pairwise(falling))
    assert factor(total) == pytest.approx(1 if schedule is Schedule.constant else floor)
    assert factor(2 * total) == factor(total)


def test_rate_holds_when_no_end_is_known():
    factor = rate_factor(Schedule.cosine, total_steps=-1, warmup=0.1, floor=0)
    assert factor(0) == 0.01
    assert factor(10**6) == 1
