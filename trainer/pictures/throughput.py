"""How fast a run was: samples a second, time of a step, and what of it was waiting for data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.metrics.metric import Metric, series
from trainer.pictures.figure import (
    BLUE,
    ORANGE,
    drawing,
    finish_axes,
    make_row,
    plot_series,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

_PANELS = (
    ("Throughput", "samples a second", {"throughput/samples": BLUE}, 1.0),
    ("Time of a step", "milliseconds", {"time/step": BLUE, "time/step_p95": ORANGE}, 1000.0),
    ("Waiting for data", "% of the step", {"time/data_share": BLUE}, 100.0),
)
NAMES = tuple(name for _, _, lines, _ in _PANELS for name in lines)
"""The metrics of which at least one must be there."""


def draw_throughput(rows: Sequence[Metric]) -> Figure:
    """Three panels, each from zero; the 95th percentile of the step time is dashed."""
    with drawing():
        from matplotlib.ticker import EngFormatter  # see figure.drawing

        figure, panels = make_row(10.5, 3.1, len(_PANELS))
        for axes, (title, label, lines, factor) in zip(panels, _PANELS, strict=True):
            highest = 0.0
            for name, color in lines.items():
                steps, values = series(rows, name)
                if steps:
                    scaled = [value * factor for value in values]
                    highest = max(highest, *scaled)
                    dashed = name.endswith("_p95")
                    plot_series(axes, steps, scaled, label=name, color=color, dashed=dashed)
            finish_axes(axes, title=title, x="step", y=label)
            axes.set_ylim(0, highest * 1.08 or 1)
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    return figure
