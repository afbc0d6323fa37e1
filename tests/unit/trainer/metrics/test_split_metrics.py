from __future__ import annotations

import pytest
import torch

from trainer.data.samples import UNREADABLE
from trainer.errors import DataError
from trainer.metrics.split_metrics import SplitMetrics


def _batch(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    labels = torch.randint(0, 3, (count,), generator=generator)
    return torch.randn(count, 3, generator=generator), labels


def test_metrics_leave_out_what_cannot_be_read():
    logits, labels = _batch(12)
    expected, metrics = (SplitMetrics("val", num_classes=3) for _ in range(2))
    expected.update(logits[2:], labels[2:])
    labels[:2] = UNREADABLE
    for part in (slice(0, 2), slice(2, 12)):  # the first has nothing else
        metrics.update(logits[part], labels[part])
    assert metrics.take() == expected.take()


def test_metrics_of_nothing_are_an_error_and_start_anew():
    logits, labels = _batch(3)
    metrics = SplitMetrics("val", num_classes=3)
    metrics.update(logits, labels)
    metrics.take()
    metrics.update(logits, torch.full_like(labels, UNREADABLE))
    with (
        pytest.warns(UserWarning, match="before the ``update`` method"),
        pytest.raises(DataError, match="not one image of the val split can be read") as error,
    ):
        metrics.take()
    assert error.value.field == "data.root"
