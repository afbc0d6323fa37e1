"""Whether a model is right as often as it says: the reliability diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.metrics.calibration import wilson_interval
from trainer.pictures.figure import BLUE, INK, ORANGE, drawing, finish_axes, make_row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from trainer.metrics.calibration import Calibration


def draw_calibration(calibration: Calibration) -> Figure:
    """Accuracy against confidence, bin by bin, and how many samples each bin has."""
    bins = [b for b in calibration.bins if b.samples]
    centres = [(b.low + b.high) / 2 for b in bins]
    width = 1 / len(calibration.bins)
    with drawing():
        figure, (first, second) = make_row(10, 3.8, 2)
        first.bar(centres, [b.accuracy for b in bins], width * 0.92, color=BLUE, label="accuracy")
        ends = [wilson_interval(b.accuracy, b.samples) for b in bins]
        lows, highs = zip(*ends, strict=True)
        first.vlines(centres, lows, highs, colors=INK, linewidth=1.2, label="95 % interval")
        first.plot(
            [b.confidence for b in bins],
            [b.confidence for b in bins],
            "D",
            color=ORANGE,
            markersize=4.5,
            label="mean confidence",
        )
        first.plot([0, 1], [0, 1], "--", color=INK, linewidth=0.9, label="perfectly calibrated")
        first.set_xlim(0, 1)
        first.set_ylim(0, 1)
        finish_axes(first, title="Reliability", x="confidence", y="share of right answers")
        second.bar(centres, [b.samples for b in bins], width * 0.92, color=BLUE)
        second.set_xlim(0, 1)
        finish_axes(second, title="How sure it was", x="confidence", y="samples")
    return figure
