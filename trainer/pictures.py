"""Pictures of a run: how it learned, and what it confuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trainer.metrics_file import MetricsFile

_DPI = 120
_MOST_NUMBERS = 15
"""A larger confusion matrix shows colours only: numbers would not fit their cells."""


def draw_learning_curves(metrics: MetricsFile, path: Path, *, title: str) -> Path:
    """Loss, accuracy and learning rate over the steps, as a PNG."""
    figure = _figure(12, 3.6)
    panels = [
        ("loss", "cross entropy", ("train/loss", "val/loss")),
        ("accuracy", "share of right answers", ("train/accuracy", "val/accuracy", "val/f1")),
        ("learning rate", "learning rate", ("lr",)),
    ]
    for number, (name, label, series) in enumerate(panels, start=1):
        axes: Axes = figure.add_subplot(1, len(panels), number)
        for metric in series:
            steps, values = metrics.series(metric)
            if steps:
                marker = "o" if metric.startswith("val/") or len(steps) == 1 else None
                axes.plot(steps, values, label=metric, marker=marker, markersize=3)
        axes.set_title(name)
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(visible=True, alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    figure.suptitle(title)
    return _save(figure, path)


def draw_confusion_matrix(
    counts: np.ndarray[tuple[int, int], np.dtype[np.int64]],
    labels: Sequence[str],
    path: Path,
    *,
    title: str,
) -> Path:
    """Counts (true class, predicted class), coloured by the share of the true class, as a PNG."""
    number = len(labels)
    size = min(16.0, max(4.5, 1.8 + 0.55 * number))
    figure = _figure(size + 1, size)
    axes: Axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    right = int(np.trace(counts))
    axes.set_title(f"{title}: {right} of {int(counts.sum())} right")
    ticks = range(number) if number <= 60 else range(0, number, number // 30)
    names = [_short(labels[tick]) for tick in ticks]
    axes.set_xticks(list(ticks), names, rotation=45 if max(map(len, names)) > 3 else 0, ha="right")
    axes.set_yticks(list(ticks), names)
    if number <= _MOST_NUMBERS:
        for row in range(number):
            for column in range(number):
                colour = "white" if shares[row, column] > 0.5 else "black"
                text = str(int(counts[row, column]))
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    return _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    """Inches. No pyplot: it would choose a window system and keep every figure alive."""
    from matplotlib.figure import Figure  # takes half a second, and is needed when all is trained

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)
    return path


def _short(label: str) -> str:
    return label if len(label) <= 20 else f"{label[:19]}…"
