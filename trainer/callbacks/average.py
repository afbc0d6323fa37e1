"""WeightAverage: a moving average of the weights, validated and saved in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from trainer.checkpoints.checkpoint import WEIGHTS_PREFIX

if TYPE_CHECKING:
    from torch import Tensor

_CURRENT = "current_weights"


class WeightAverage(pl.Callback):
    """Averages parameters and floating-point buffers after every optimiser step.

    A checkpoint holds the average where it holds the weights, and the weights themselves, from
    which training goes on, under `current_weights`. See https://arxiv.org/abs/1803.05407.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._average: dict[str, Tensor] = {}
        self._step = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        start = self._average or {k: v.clone() for k, v in _weights(pl_module).items()}
        # What a checkpoint brought was loaded before the model came to its device.
        self._average = {name: value.to(pl_module.device) for name, value in start.items()}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        self._step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        *args: Any,  # noqa: ARG002
    ) -> None:
        if trainer.global_step == self._step:  # gradients are being accumulated
            return
        self._step = trainer.global_step
        torch._foreach_lerp_(
            list(self._average.values()), list(_weights(pl_module).values()), 1 - self._decay
        )

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._swap(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._swap(pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Where no checkpoint is kept, the average is what is tested."""
        self._swap(pl_module)

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        state = checkpoint["state_dict"]
        checkpoint[_CURRENT] = {name: state[name] for name in self._average}
        checkpoint["state_dict"] = {**state, **self._average}

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        current = checkpoint.get(_CURRENT)
        if current is None:
            return
        self._average = {name: checkpoint["state_dict"][name].clone() for name in current}
        pl_module.load_state_dict(current, strict=False)

    def _swap(self, module: pl.LightningModule) -> None:
        for name, value in _weights(module).items():
            kept = value.clone()
            value.copy_(self._average[name])
            self._average[name].copy_(kept)


class NoAverage(pl.Callback):
    """Goes on from the weights themselves where a checkpoint also has their average."""

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        pl_module.load_state_dict(checkpoint.get(_CURRENT, {}), strict=False)


def _weights(module: pl.LightningModule) -> dict[str, Tensor]:
    """The model's floating-point parameters and buffers, by their names in a checkpoint."""
    return {
        name: value.detach()
        for name, value in module.state_dict().items()
        if name.startswith(WEIGHTS_PREFIX) and value.is_floating_point()
    }
