"""The pictures of a run, and what each shows in words."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from markupsafe import Markup

from trainer.metrics.metric import series
from trainer.pictures.calibration import draw_calibration
from trainer.pictures.confusion_matrix import draw_confusion_matrix
from trainer.pictures.figure import as_svg
from trainer.pictures.learning_curves import NAMES as CURVES
from trainer.pictures.learning_curves import draw_learning_curves
from trainer.pictures.throughput import NAMES as SPEEDS
from trainer.pictures.throughput import draw_throughput
from trainer.report.blocks import Chart
from trainer.report.scores import worst_confusions
from trainer.report.text import number, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from trainer.metrics.calibration import Calibration
    from trainer.metrics.predictions import Predictions
    from trainer.report.recorded import Recorded


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure, as it is stored and as it stands on the page."""

    name: str
    figure: Figure
    alt: str
    caption: str
    narrow: bool = False

    def chart(self) -> Chart:
        """For the page."""
        svg = as_svg(self.figure, name=self.name, alt=self.alt)
        return Chart(svg=Markup(svg), caption=self.caption, narrow=self.narrow)  # noqa: S704 - ours


def pictures(run: Recorded, calibration: Calibration | None) -> dict[str, Picture]:
    """Those for which there is something to draw, by name."""
    found = []
    names = {row.name for row in run.metrics}
    if names & set(CURVES):
        found.append(_learning_curves(run))
    if run.predictions is not None and calibration is not None:
        found += [_confusion_matrix(run.predictions), _calibration(calibration)]
    if {row.name for row in run.performance} & set(SPEEDS):
        found.append(_throughput(run))
    return {picture.name: picture for picture in found}


def _learning_curves(run: Recorded) -> Picture:
    told = []
    for name in CURVES[:-1]:
        steps, values = series(run.metrics, name)
        if steps:
            told.append(f"{name} from {number(values[0])} to {number(values[-1])}")
    last = max(row.step for row in run.metrics)
    return Picture(
        name="learning_curves",
        figure=draw_learning_curves(run.metrics),
        alt=f"Learning curves over {last} steps: {', '.join(told) or 'the learning rate only'}.",
        caption="Lines: means over the steps since the last record. Dots: passes through the"
        " validation split.",
    )


def _confusion_matrix(predictions: Predictions) -> Picture:
    counts, labels = predictions.confusion(), predictions.labels
    right, all_of_them = int(counts.trace()), int(counts.sum())
    worst = worst_confusions(counts)[:3]
    told = "; ".join(f"{labels[true]} taken for {labels[taken]}: {n}" for true, taken, n in worst)
    return Picture(
        name="confusion_matrix",
        figure=draw_confusion_matrix(counts, labels),
        alt=f"Confusion matrix of {len(labels)} classes: {right} of {all_of_them} right."
        + (f" Most frequent mistakes: {told}." if told else ""),
        caption=f"Test split: {right} of {all_of_them} right. Rows are true classes, columns what"
        " they were taken for.",
        narrow=True,
    )


def _calibration(calibration: Calibration) -> Picture:
    return Picture(
        name="calibration",
        figure=draw_calibration(calibration),
        alt=f"Reliability diagram: mean confidence {percent(calibration.confidence)}, accuracy"
        f" {percent(calibration.accuracy)}, expected calibration error"
        f" {percent(calibration.error)} over {calibration.samples} samples.",
        caption="Bars at the dashed line: as often right as it says. Below it: too sure of itself."
        " Thin lines: 95 % interval of a bin's accuracy.",
    )


def _throughput(run: Recorded) -> Picture:
    told = [
        f"median {name} {number(median(values))}"
        for name in SPEEDS
        if (values := series(run.performance, name)[1])
    ]
    return Picture(
        name="throughput",
        figure=draw_throughput(run.performance),
        alt=f"Throughput over the steps: {', '.join(told)}.",
        caption="Means over the steps since the last record, validation left out; dashed: the 95th"
        " percentile of the step time.",
    )
