"""What a model takes for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainer.pictures.figure import BLUE, INK, ON_BLUE, SOFT, drawing, make_figure, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

_MOST_NUMBERS = 15
"""A larger matrix shows colours only: numbers would not fit their cells."""
_MOST_TICKS = 60
_DARK = 0.8
"""From this share on a cell is so blue that its number is white."""


def draw_confusion_matrix(
    counts: np.ndarray[tuple[int, int], np.dtype[np.int64]], labels: Sequence[str]
) -> Figure:
    """Counts (true class, predicted class), coloured by the share of the true class."""
    number = len(labels)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with drawing():
        from matplotlib.colors import LinearSegmentedColormap, to_rgb  # see figure.drawing
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        size = min(12.0, max(3.6, 1.6 + 0.42 * number))
        figure = make_figure(size * 1.25, size)
        axes = figure.add_subplot()
        # More or less of one colour over nothing: so it stands on a light and on a dark page.
        blue = to_rgb(BLUE)
        shades = LinearSegmentedColormap.from_list("shades", [(*blue, 0.0), (*blue, 1.0)])
        image = axes.imshow(shares, cmap=shades, vmin=0, vmax=1, interpolation="none")
        bar = figure.colorbar(
            image, ax=axes, label="share of the true class", shrink=0.8, use_gridspec=False
        )
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(True)
        ticks = range(0, number, 1 if number <= _MOST_TICKS else number // (_MOST_TICKS // 2))
        names = [shorten(labels[tick]) for tick in ticks]
        long = max(map(len, names)) > 3
        axes.set_xticks(ticks, names, rotation=45 if long else 0, ha="right" if long else "center")
        axes.set_yticks(ticks, names)
        if number <= _MOST_NUMBERS:
            for (row, column), count in np.ndenumerate(counts):
                color = ON_BLUE if shares[row, column] >= _DARK else INK if count else SOFT
                axes.text(
                    column, row, str(count), ha="center", va="center", color=color, fontsize=9
                )
        # Once: as the figure's own engine it would measure every text for each file anew.
        ConstrainedLayoutEngine().execute(figure)
    return figure
