"""LightningModel: what one step computes, which metrics are kept, how the weights move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.checkpoints.checkpoint import KEY
from trainer.data.samples import LABEL
from trainer.errors import TrainerError
from trainer.finite import all_finite
from trainer.metrics.answers import Answers
from trainer.metrics.split_metrics import SplitMetrics
from trainer.metrics.train_window import TrainWindow
from trainer.optimizers import RateSchedule
from trainer.parallel.replicas import ReplicaStrategy
from trainer.parallel.strategies import gather, scatter, shard
from trainer.randomness import step_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch.optim import Optimizer

    from trainer.microbatch import MicroBatches
    from trainer.speed.performance import Performance


class LightningModel(pl.LightningModule):
    """Classification with cross entropy.

    Training metrics stay on the device as sums and are read every `log_every` steps, so that a
    step never waits for the device.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        *,
        num_classes: int,
        make_optimizer: Callable[[nn.Module], Optimizer],
        rate: Callable[[int], float],
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        log_every: int = 10,
        seed: int = 0,
        card: Mapping[str, Any] | None = None,
        pieces: MicroBatches | None = None,
    ) -> None:
        """`rate`: step → factor of the learning rate. `card`: how a checkpoint describes itself.

        `pieces`: what is done when memory does not suffice; None: the error is raised.
        """
        super().__init__()
        self.model = model
        self.card = dict(card or {})
        self.make_optimizer = make_optimizer
        self._rate = rate
        self._label_smoothing = label_smoothing
        self._log_every = max(1, log_every)
        self._seed = seed
        self._pieces = pieces
        self._batch: Mapping[str, Tensor] | None = None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self._window = TrainWindow()
        self.performance: Performance | None = None
        """Told of every batch, if there is one."""
        self._sharded = False
        self.latest: dict[str, float] = {}
        """The training metrics that were read last."""
        self.evaluated: dict[str, float] = {}
        """The metrics of the last pass through a validation or test split."""
        self.val_metrics = SplitMetrics("val", num_classes=num_classes)
        self.test_metrics = SplitMetrics("test", num_classes=num_classes)
        self.answers = Answers()
        """Of the last test."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning notes the hook it is in, a text or None, some forty times a step; torch's way
        would look each time whether it is a parameter.
        """
        if (value is None or type(value) is str) and name in self.__dict__:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def configure_model(self) -> None:
        """Shard the model if the strategy does; once, though Lightning calls this again."""
        mesh = self.device_mesh
        if mesh is not None and not self._sharded:
            shard(self.model, mesh["data_parallel"])
            self._sharded = True

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """A batch, with or without labels → float32 logits (batch, num_classes)."""
        inputs = {name: value for name, value in batch.items() if name != LABEL}
        logits: Tensor = self.model(**inputs)
        return logits.float()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Dropout depends on nothing but seed, batch and rank, so a resumed run repeats it."""
        if self.performance is not None:
            self.performance.begin()
        self._fix_randomness()

    def _fix_randomness(self, *piece: int) -> None:
        number = self.trainer.fit_loop.total_batch_idx + 1
        seed = step_seed(self._seed, number, self.global_rank, *piece)
        # torch.manual_seed would also queue a call to CUDA, with a stack trace, every step.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def on_fit_start(self) -> None:
        if self._pieces is not None:
            self._pieces.prepare(self.device)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        """The loss to minimise; where micro-batches are possible, `backward` computes it.

        A graph that the caller holds could not be freed before the next attempt. What is returned
        then is 1, which arrives in `backward` as the factor of the gradient.
        """
        if self._pieces is not None:
            self._batch = batch
            return torch.ones((), device=self.device)
        loss, logits = self.loss(batch, len(batch[LABEL]))
        self._window.add(loss.detach(), logits.detach(), batch[LABEL])
        return loss

    def loss(self, batch: Mapping[str, Tensor], count: int) -> tuple[Tensor, Tensor]:
        """A batch, or a piece of one with `count` samples → its part of the loss, and the logits.

        The logits are (batch, num_classes).
        """
        logits, labels = self.forward(batch), batch[LABEL]  # (batch, num_classes), (batch,)
        # Over the batch size, not the sum of its weights: parts of a batch must add up to it.
        total = functional.cross_entropy(
            logits,
            labels,
            weight=self.class_weights,
            label_smoothing=self._label_smoothing,
            reduction="sum",
        )
        return total / count, logits

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Add the batch's gradient to the parameters' own."""
        batch, self._batch = self._batch, None
        if self._pieces is None or batch is None:
            super().backward(loss, *args, **kwargs)
            return
        labels, factor = batch[LABEL], loss.detach()

        def compute(part: Mapping[str, Tensor], number: int | None) -> tuple[Tensor, Tensor]:
            if number is not None:
                self._fix_randomness(number)
            with self.trainer.precision_plugin.forward_context():
                share, logits = self.loss(part, len(labels))
            share.backward(gradient=factor)  # type: ignore[no-untyped-call]
            return share.detach(), logits.detach()

        results = self._pieces.backward(
            batch, compute, step=self.global_step, rank=self.global_rank
        )
        if isinstance(self.trainer.strategy, ReplicaStrategy):
            self.trainer.strategy.average_gradients()
        value, logits = results[0]
        if len(results) > 1:
            value = torch.stack([share for share, _ in results]).sum()
            logits = torch.cat([part for _, part in results])
        self._window.add(value, logits, labels)

    def record_metrics(self, *, ends: bool) -> None:
        """Read and record the training metrics since the last record, if that is due.

        `ends`: whether the epoch does; one shorter than `log_every` steps still leaves a record.
        Called when a batch is trained on, before it is saved. Reading waits for the device, and is
        part of the step.
        """
        step = self.global_step
        if step == self._window.read_at or not (ends or step % self._log_every == 0):
            return
        self.latest = self._read(step)
        for logger in self.trainer.loggers:
            logger.log_metrics(self.latest, step=step)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Called after the callbacks, so that what they do is part of the step."""
        if self.performance is not None:
            step = self.global_step
            self.performance.end(batch, step=step)
            if step % self._log_every == 0:
                self.performance.record(batch, step=step)

    def on_train_epoch_end(self) -> None:
        if self.performance is not None:
            step = self.global_step
            self.performance.record(None, step=step)
            self.performance.end_epoch(step=step)

    def on_train_start(self) -> None:
        """Lightning does not call the next where it goes on in an epoch."""
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        if self.performance is not None:
            self.performance.begin_epoch()

    def on_validation_end(self) -> None:
        if self.performance is not None:
            self.performance.clock.skip()

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:  # noqa: ARG002
        self._evaluate(self.val_metrics, batch)

    def on_validation_epoch_start(self) -> None:
        gather(self.model)

    def on_test_epoch_start(self) -> None:
        gather(self.model)

    def on_validation_epoch_end(self) -> None:
        scatter(self.model)
        self._report(self.val_metrics)

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:  # noqa: ARG002
        logits = self._evaluate(self.test_metrics, batch)
        self.answers.add(logits, batch[LABEL])

    def on_test_epoch_end(self) -> None:
        scatter(self.model)
        self._report(self.test_metrics)
        self.answers.gather()

    def configure_optimizers(self) -> Any:
        """One optimiser; its rate changes every step."""
        optimizer = self.make_optimizer(self.model)
        schedule = RateSchedule(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint says what it is: config, labels, preprocessing, architecture.

        Raises TrainerError if the weights are no longer numbers: the checkpoint before is better.
        """
        if not all_finite(self.model):
            raise self._diverged("a weight", self.global_step)
        metrics = {
            name: float(value)
            for name, value in self.trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        world_size = self.trainer.world_size
        checkpoint[KEY] = {**self.card, "metrics": metrics, "world_size": world_size}
        checkpoint[KEY]["train_window"] = self._window.state(self.device)
        if self._pieces is not None and self._pieces.size is not None:
            checkpoint[KEY]["micro_batch"] = self._pieces.size

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What did not fit before the checkpoint does not fit after it; nor is a record begun anew
        that the checkpoint is in the middle of.
        """
        card = checkpoint.get(KEY, {})
        if self._pieces is not None:
            self._pieces.size = card.get("micro_batch")
        if "train_window" in card:
            self._window.restore(
                card["train_window"], rank=self.global_rank, world_size=self.trainer.world_size
            )

    def _read(self, step: int) -> dict[str, float]:
        """The training metrics since the last reading."""
        loss, accuracy = self._window.read(step)
        if loss != loss:  # noqa: PLR0124 - NaN
            raise self._diverged("the training loss", step)
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        values = {"train/loss": loss, "train/accuracy": accuracy, "lr": float(rate)}
        if self._pieces is not None and self._pieces.size is not None:
            values["train/micro_batch"] = float(self._pieces.size)
        return values

    @staticmethod
    def _diverged(what: str, step: int) -> TrainerError:
        return TrainerError(
            f"{what} is no longer a number (by step {step})",
            field="optim.lr",
            remedy="lower optim.lr, or set trainer.gradient_clip; if the checkpoint is too late,"
            " resume= names an earlier one",
        )

    def _evaluate(self, metrics: SplitMetrics, batch: Mapping[str, Tensor]) -> Tensor:
        if self._pieces is None:
            logits = self.forward(batch)  # (batch, num_classes)
        else:
            where = {"step": self.global_step, "rank": self.global_rank}
            logits = self._pieces.evaluate(batch, self.forward, **where)
        metrics.update(logits, batch[LABEL])
        return logits

    def _report(self, metrics: SplitMetrics) -> None:
        values = metrics.take()
        # Lightning's own record would come one step early, with the epoch as a metric.
        self.log_dict(values, logger=False)
        self.evaluated = {name: float(value) for name, value in values.items()}
        for logger in self.trainer.loggers:
            logger.log_metrics(self.evaluated, step=self.global_step)
