"""SplitMetrics: what is measured in one pass through a validation or test split."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric, MetricCollection, SumMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from trainer.data.samples import NO_SAMPLE, UNREADABLE
from trainer.errors import DataError


class SplitMetrics(nn.Module):
    """Accuracy, macro F1 and cross entropy over one pass through a split."""

    def __init__(self, split: str, *, num_classes: int) -> None:
        super().__init__()
        self._split = split
        self._count = SumMetric()
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
        """Count a batch: logits (batch, num_classes), labels (batch,).

        UNREADABLE and NO_SAMPLE are left out.
        """
        known = (labels != UNREADABLE) & (labels != NO_SAMPLE)
        logits, labels = logits[known], labels[known]
        if not len(labels):
            return
        self._count.update(len(labels))
        self._scores.update(logits, labels)
        self._loss.update(functional.cross_entropy(logits, labels), weight=len(labels))

    def take(self) -> dict[str, Tensor]:
        """The values by name; counting starts anew.

        All processes call this. Raises DataError in each if none of them has counted a sample.
        """
        if not self._count.compute():
            raise DataError(
                f"not one image of the {self._split} split can be read",
                field="data.root",
                remedy="repair or remove the images that the log names",
            )
        values: dict[str, Tensor] = {
            **self._scores.compute(),
            f"{self._split}/loss": self._loss.compute(),
        }
        self._scores.reset()
        self._loss.reset()
        self._count.reset()
        return values
