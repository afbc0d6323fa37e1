"""How a run learned: loss, scores and learning rate over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.metrics.metric import series
from trainer.pictures.figure import (
    BLUE,
    GREEN,
    ORANGE,
    drawing,
    finish_axes,
    make_row,
    plot_series,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from trainer.metrics.metric import Metric

_PANELS = (
    ("Loss", "cross entropy", {"train/loss": BLUE, "val/loss": ORANGE}),
    (
        "Score",
        "accuracy, F1",
        {"train/accuracy": BLUE, "val/accuracy": ORANGE, "val/f1": GREEN},
    ),
    ("Learning rate", "learning rate", {"lr": BLUE}),
)
NAMES = tuple(name for _, _, lines in _PANELS for name in lines)
"""The metrics of which at least one must be there."""


def draw_learning_curves(rows: Sequence[Metric]) -> Figure:
    """Three panels; validation is dashed, with a dot for each pass."""
    with drawing():
        figure, panels = make_row(10.5, 3.2, len(_PANELS))
        for axes, (title, label, lines) in zip(panels, _PANELS, strict=True):
            for name, color in lines.items():
                steps, values = series(rows, name)
                if steps:
                    val = name.startswith("val/")
                    plot_series(
                        axes, steps, values, label=name, color=color, dashed=val, dotted=val
                    )
            finish_axes(axes, title=title, x="step", y=label)
    return figure
