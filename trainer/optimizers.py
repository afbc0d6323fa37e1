"""Parameter groups and learning-rate schedules."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from trainer.schema import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.optim import Optimizer

_STATE = ("params", "param_names", "lr")
"""What of a parameter group is no setting."""


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices and kernels with weight decay; norms, biases and other vectors without."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def step_options(
    optimizer: type[Optimizer], groups: list[dict[str, Any]], *, mixed: bool
) -> dict[str, bool]:
    """The quickest of torch's forms of a step that is safe for these parameters, as arguments.

    On a CPU the fused form takes weights, gradients and moments as they lie in memory, and mixes
    them up without a word where one lies in another order, as a moment out of a checkpoint may
    beside a convolution in channels_last. It could also unscale gradients itself, and so Lightning
    clips none for it in `mixed` precision.
    """
    known = inspect.signature(optimizer).parameters
    parameters = [parameter for group in groups for parameter in group["params"]]
    if any(type(parameter) is not nn.Parameter for parameter in parameters):  # sharded
        return {}
    if "fused" in known and not mixed and all(p.is_contiguous() for p in parameters):
        return {"fused": True}
    return {"foreach": True} if "foreach" in known else {}


def keep_settings(optimizer: Optimizer) -> None:
    """Let no checkpoint replace what the config says: weight decay, momentum; nor the form of the
    step, for it may come from another strategy.
    """

    def own(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        saved = state["param_groups"]
        if len(saved) != len(optimizer.param_groups):
            return state  # which torch refuses
        pairs = zip(saved, optimizer.param_groups, strict=True)
        return {**state, "param_groups": [_with_settings(*pair) for pair in pairs]}

    optimizer.register_load_state_dict_pre_hook(own)


def _with_settings(saved: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A saved group with our own settings; its rate is the schedule's to set."""
    return {**saved, **{name: own[name] for name in own if name not in _STATE}}


class RateSchedule(LambdaLR):
    """The learning rate of `optimizer`, times a factor that depends on the step.

    A checkpoint says how far it is, and nothing of the rate itself, which holds from the next step
    on. Its optimizer must be loaded first.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "base_lrs": self.base_lrs})
        for group, base, factor in zip(
            self.optimizer.param_groups, self.base_lrs, self.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(self.last_epoch)


def rate_factor(
    schedule: Schedule, *, total_steps: int, warmup: float, floor: float
) -> Callable[[int], float]:
    """Step → factor of the learning rate: up from 0 over the warm-up, then down to `floor`.

    `total_steps` < 1 (no end is known) holds the rate after 100 steps of warm-up.
    """
    endless = total_steps < 1
    # At least the last step falls, also where rounding would leave none.
    warm_steps = 100 if endless else min(round(warmup * total_steps), total_steps - 1)

    def factor(step: int) -> float:
        if step < warm_steps:
            return (step + 1) / warm_steps
        if endless or schedule is Schedule.constant:
            return 1.0
        done = min(1.0, (step - warm_steps) / max(1, total_steps - warm_steps))
        if schedule is Schedule.linear:
            return floor + (1 - floor) * (1 - done)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

    return factor
