"""Pictures of an export: what speed costs in agreement and in size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundle.atomic_file import staged
from optimize.findings import standings
from optimize.tables import size as size_of_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

    from optimize.findings import Findings

_DPI = 120
_LARGEST_AREA = 1400.0
_SMALLEST_AREA = 40.0
_STEP = 3.0
"""Points that a label goes down at a time until it lies on no other."""
_COLOURS = {"certified": "tab:green", "refused": "tab:red", "baseline": "tab:gray"}


def draw_frontier(findings: Findings, path: Path, *, title: str) -> Path | None:
    """Median latency of one sample against agreement, size as area, as a PNG; None: not timed."""
    from matplotlib.figure import Figure  # takes half a second, and only a report needs it

    contest = findings.contest
    if contest is None:
        return None
    baselines = {each.name for each in findings.baselines}
    points = [
        each
        for each in standings(findings.candidates, findings.baselines, contest)
        if each.timings is not None and each.agreement is not None
    ]
    figure = Figure(figsize=(8, 5), layout="constrained")  # inches
    axes: Axes = figure.add_subplot()
    largest = max((each.bytes for each in points), default=1)
    frontier = findings.frontier
    kinds: dict[str, None] = {}
    labels: list[Annotation] = []
    size = 0
    for each in points:
        timings = each.timings or {}
        size = min(timings)
        kind = "baseline" if each.name in baselines else "refused"
        kind = "certified" if each.certified else kind
        axes.scatter(
            timings[size].p50_ms,
            100 * (each.agreement or 0.0),
            s=max(_SMALLEST_AREA, _LARGEST_AREA * each.bytes / largest),
            color=_COLOURS[kind],
            alpha=0.5,
            edgecolors="black" if each.name in frontier else "none",
            label=kind if kind not in kinds else None,
        )
        kinds[kind] = None
        labels.append(
            axes.annotate(
                f"{each.name}, {size_of_file(each.bytes)}",
                (timings[size].p50_ms, 100 * (each.agreement or 0.0)),
                xytext=(0.0, 0.0),
                textcoords="offset points",
                fontsize="small",
                ha="center",
                va="center",
                arrowprops={"arrowstyle": "-", "alpha": 0.3},
            )
        )
    busy = ", on a busy machine: not to be believed" if contest.busy else ""
    axes.set_xlabel(f"median latency, batch {size}, {contest.threads} threads, ms{busy}")
    axes.set_xscale("log")
    axes.set_ylabel("answers that are the original's, %")
    axes.set_title(f"{title}: area is size; outlined: on the Pareto frontier")
    axes.margins(0.2)
    axes.grid(visible=True, alpha=0.3)
    if kinds:
        legend = axes.legend(loc="lower right", fontsize="small")
        for handle in legend.legend_handles:
            if handle is not None and hasattr(handle, "set_sizes"):
                handle.set_sizes([60.0])
    _part(labels, figure)
    with staged(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png")
        temporary.replace(path)
    return path


def _part(labels: Sequence[Annotation], figure: Figure) -> None:
    """Let each label go down until it lies on none before it, with a line to its point."""
    from matplotlib.text import Text  # whose extent is that of the words alone, without the line

    figure.draw_without_rendering()
    placed: list[Bbox] = []
    for label in labels:
        x, y = label.xyann
        while any(Text.get_window_extent(label).overlaps(other) for other in placed):
            y -= _STEP
            label.xyann = (x, y)
        placed.append(Text.get_window_extent(label))
