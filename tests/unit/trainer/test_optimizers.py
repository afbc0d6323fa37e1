from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from trainer.build import build_optimizer
from trainer.models.resnet import ResNet
from trainer.optimizers import RateSchedule, parameter_groups, rate_factor
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


def test_step_is_fused_when_all_parameters_lie_in_plain_order(config):
    optimizer = build_optimizer(config("optim=adamw"), torch.nn.Linear(2, 2))
    assert optimizer.defaults["fused"] is True


def test_step_is_not_fused_when_a_parameter_lies_in_another_order(config):
    model = ResNet(num_classes=3, channels=1, blocks=[1], widths=[16], small_stem=True)
    optimizer = build_optimizer(config("optim=adamw"), model)
    assert optimizer.defaults["fused"] is not True
    assert optimizer.defaults["foreach"] is True


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_step_is_not_fused_in_mixed_precision(config, precision):
    cfg = config("optim=adamw", f"precision={precision}")
    assert build_optimizer(cfg, torch.nn.Linear(2, 2)).defaults["fused"] is not True


def test_step_stays_fused_when_a_checkpoint_was_not(config):
    optimizer = build_optimizer(config("optim=adamw"), torch.nn.Linear(2, 2))
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        group.update(fused=None, foreach=True, lr=0.5)
    optimizer.load_state_dict(state)
    assert [group["fused"] for group in optimizer.param_groups] == [True, True]
    assert [group["foreach"] for group in optimizer.param_groups] == [None, None]
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


@pytest.mark.parametrize("optim", ["adamw", "sgd"])
def test_fused_step_is_torchs_plain_step_when_rounded(config, optim):
    def weights(**options):
        torch.manual_seed(0)
        model = torch.nn.Linear(20, 30)
        form = [f"+optim.{name}={value}" for name, value in options.items()]
        optimizer = build_optimizer(config(f"optim={optim}", "optim.lr=0.1", *form), model)
        for _ in range(20):
            optimizer.zero_grad()
            model(torch.randn(8, 20)).square().mean().backward()
            optimizer.step()
        return model.weight.detach()

    torch.testing.assert_close(weights(), weights(fused=False, foreach=False), rtol=1e-5, atol=1e-6)


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


def test_a_longer_schedule_holds_from_the_first_step_on():
    def scheduled(steps):
        optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1)
        factor = rate_factor(Schedule.cosine, total_steps=steps, warmup=0, floor=0)
        return optimizer, RateSchedule(optimizer, factor)

    optimizer, schedule = scheduled(10)
    for _ in range(10):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == 0
    longer, longer_schedule = scheduled(20)
    longer.load_state_dict(optimizer.state_dict())
    longer_schedule.load_state_dict(schedule.state_dict())
    assert longer.param_groups[0]["lr"] == pytest.approx(0.05)
