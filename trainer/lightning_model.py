"""LightningModel: what one step computes, which metrics are kept, how the weights move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from trainer.checkpoint import KEY
from trainer.errors import TrainerError
from trainer.randomness import step_seed
from trainer.strategies import gather, scatter, shard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch.optim import Optimizer

    from trainer.performance import Performance

LABEL = "label"
"""The key of the classes in a batch; every other key is an input of the model."""


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
    ) -> None:
        """`rate`: step → factor of the learning rate. `card`: how a checkpoint describes itself."""
        super().__init__()
        self.model = model
        self.card = dict(card or {})
        self._make_optimizer = make_optimizer
        self._rate = rate
        self._label_smoothing = label_smoothing
        self._log_every = max(1, log_every)
        self._seed = seed
        self.register_buffer("class_weights", class_weights, persistent=False)
        self._window = _Window()
        self.performance: Performance | None = None
        """Told of every batch, if there is one."""
        self._sharded = False
        self.latest: dict[str, float] = {}
        """The training metrics that were read last."""
        self.evaluated: dict[str, float] = {}
        """The metrics of the last pass through a validation or test split."""
        self.val_metrics = SplitMetrics("val", num_classes=num_classes)
        self.test_metrics = SplitMetrics("test", num_classes=num_classes)
        self.confusion = MulticlassConfusionMatrix(num_classes)
        self.confusion_matrix: Tensor | None = None
        """After a test: counts (true class, predicted class)."""

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
        number = self.trainer.fit_loop.total_batch_idx + 1
        seed = step_seed(self._seed, step=number, rank=self.global_rank)
        # torch.manual_seed would also queue a call to CUDA, with a stack trace, every step.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        """The loss to minimise."""
        logits, labels = self.forward(batch), batch[LABEL]  # (batch, num_classes), (batch,)
        # Over the batch size, not the sum of its weights: parts of a batch must add up to it.
        total = functional.cross_entropy(
            logits,
            labels,
            weight=self.class_weights,
            label_smoothing=self._label_smoothing,
            reduction="sum",
        )
        loss = total / len(labels)
        self._window.add(loss.detach(), logits.detach(), labels)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Read and record the metrics since the last record."""
        step = self.global_step
        due = step != self._window.read_at and step % self._log_every == 0
        values = self._read(step) if due else None  # which waits for the device: part of the step
        if self.performance is not None:
            self.performance.end(batch, step=step)
        if values is not None:
            self._record(values, step)
            if self.performance is not None:
                self.performance.record(batch, step=step)

    def on_train_epoch_end(self) -> None:
        """An epoch shorter than `log_every` steps still leaves a record."""
        step = self.global_step
        if step != self._window.read_at:
            self._record(self._read(step), step)
        if self.performance is not None:
            self.performance.record(None, step=step)
            self.performance.end_epoch(step=step)

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
        self.confusion.update(logits, batch[LABEL])

    def on_test_epoch_end(self) -> None:
        scatter(self.model)
        self._report(self.test_metrics)
        self.confusion_matrix = self.confusion.compute().cpu()  # (num_classes, num_classes)
        self.confusion.reset()

    def configure_optimizers(self) -> Any:
        """One optimiser; its rate changes every step."""
        optimizer = self._make_optimizer(self.model)
        schedule = LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint says what it is: config, labels, preprocessing, architecture."""
        metrics = {
            name: float(value)
            for name, value in self.trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        world_size = self.trainer.world_size
        checkpoint[KEY] = {**self.card, "metrics": metrics, "world_size": world_size}

    def _read(self, step: int) -> dict[str, float]:
        """The training metrics since the last reading."""
        loss, accuracy = self._window.read(step)
        if loss != loss:  # noqa: PLR0124 - NaN
            raise TrainerError(
                f"the training loss is no longer a number (by step {step})",
                field="optim.lr",
                remedy="lower optim.lr, or set trainer.gradient_clip",
            )
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        return {"train/loss": loss, "train/accuracy": accuracy, "lr": float(rate)}

    def _record(self, values: dict[str, float], step: int) -> None:
        self.latest = values
        for logger in self.trainer.loggers:
            logger.log_metrics(self.latest, step=step)

    def _evaluate(self, metrics: SplitMetrics, batch: Mapping[str, Tensor]) -> Tensor:
        logits = self.forward(batch)  # (batch, num_classes)
        metrics.update(logits, batch[LABEL])
        return logits

    def _report(self, metrics: SplitMetrics) -> None:
        values = metrics.take()
        # Lightning's own record would come one step early, with the epoch as a metric.
        self.log_dict(values, logger=False)
        self.evaluated = {name: float(value) for name, value in values.items()}
        for logger in self.trainer.loggers:
            logger.log_metrics(self.evaluated, step=self.global_step)


class SplitMetrics(nn.Module):
    """Accuracy, macro F1 and cross entropy over one pass through a split."""

    def __init__(self, split: str, *, num_classes: int) -> None:
        super().__init__()
        self._loss_name = f"{split}/loss"
        self._loss = MeanMetric()
        self._scores = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(num_classes, average="micro"),
                "f1": MulticlassF1Score(num_classes, average="macro"),
            },
            prefix=f"{split}/",
            # Groups would form at the first update, which a process without a batch never has.
            compute_groups=False,
        )

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits (batch, num_classes), labels (batch,)."""
        self._scores.update(logits, labels)
        self._loss.update(functional.cross_entropy(logits, labels), weight=len(labels))

    def take(self) -> dict[str, Tensor]:
        """The values by name; counting starts anew."""
        values: dict[str, Tensor] = {
            **self._scores.compute(),
            self._loss_name: self._loss.compute(),
        }
        self._scores.reset()
        self._loss.reset()
        return values


class _Window:
    """Sums over the steps since the last reading, kept on the device."""

    def __init__(self) -> None:
        self.read_at = 0
        self._sums: Tensor | None = None  # (3,): loss · samples, right answers, samples

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """A batch: its mean loss, logits (batch, num_classes) and labels (batch,)."""
        right = (logits.argmax(dim=1) == labels).sum()
        count = len(labels)
        sums = torch.stack([loss * count, right.to(loss.dtype), loss.new_tensor(float(count))])
        self._sums = sums if self._sums is None else self._sums + sums

    def read(self, step: int) -> tuple[float, float]:
        """Mean loss and accuracy of the window over all processes; it starts anew."""
        self.read_at = step
        if self._sums is not None and distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(self._sums)
        loss, right, count = self._sums.tolist() if self._sums is not None else (0.0, 0.0, 0.0)
        self._sums = None
        return loss / max(count, 1.0), right / max(count, 1.0)
