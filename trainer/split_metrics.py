"""SplitMetrics: what is measured in one pass through a validation or test split."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score


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
