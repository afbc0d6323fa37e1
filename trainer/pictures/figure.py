"""What all pictures share: colours, figures, and how they become PNG and SVG."""

from __future__ import annotations

import io
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 120
INK = "#1f2430"
"""Texts and the diagonal."""
SOFT = "#545d6b"
"""Texts that matter less."""
FAINT = "#c9d0da"
"""Grids and frames."""
BLUE = "#1f5fbf"
ORANGE = "#b4540a"
GREEN = "#0b7a53"
ON_BLUE = "#fefefe"
"""Texts on what is filled with BLUE."""
VARIABLES = {
    INK: "--ink",
    SOFT: "--soft",
    FAINT: "--chart-faint",
    BLUE: "--chart-blue",
    ORANGE: "--chart-orange",
    GREEN: "--chart-green",
    ON_BLUE: "--chart-on-blue",
}
"""The page's names of the colours: a stylesheet gives them other values in the dark."""

_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a class may be called `$5`
    "svg.fonttype": "none",  # texts stay texts: searchable, and in the page's font
    "svg.hashsalt": "trainyard",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": "medium",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.edgecolor": FAINT,
    "legend.framealpha": 0,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"font: (bold )?([\d.]+)px [^;]*")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


@contextmanager
def drawing() -> Iterator[None]:
    """While entered, figures are made and saved in the house style."""
    import matplotlib as mpl  # takes half a second, and is needed when all is trained

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A class in Chinese: the PNG shows boxes, the SVG has the text itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def make_figure(width: float, height: float) -> Figure:
    """Inches. No pyplot: it would choose a window system and keep every figure alive."""
    from matplotlib.figure import Figure  # see drawing

    return Figure(figsize=(width, height))


def make_row(width: float, height: float, panels: int) -> tuple[Figure, list[Axes]]:
    """A figure, in inches, and its panels beside each other.

    Their margins are fixed: a layout that measures every text takes as long as three drawings.
    """
    figure = make_figure(width, height)
    figure.subplots_adjust(
        left=0.75 / width,
        right=1 - 0.12 / width,
        bottom=0.5 / height,
        top=1 - 0.32 / height,
        wspace=0.85 / (width / panels - 0.85),
    )
    return figure, list(figure.subplots(1, panels))


def printable(text: str) -> str:
    """The text without what neither XML nor a font has."""
    return _UNPRINTABLE.sub("\ufffd", text)


def shorten(label: str) -> str:
    """A label that fits beside an axis."""
    clean = printable(label)
    return clean if len(clean) <= 20 else f"{clean[:19]}…"


def plot_series(
    axes: Axes,
    steps: list[int],
    values: list[float],
    *,
    label: str,
    color: str,
    dashed: bool = False,
    dotted: bool = False,
) -> None:
    """One line over the steps. `dotted`: few values, each of which is shown."""
    marker = "o" if dotted or len(steps) == 1 else None
    style = "--" if dashed else "-"
    axes.plot(steps, values, style, label=label, marker=marker, markersize=3.5, color=color)


def finish_axes(axes: Axes, *, title: str, x: str, y: str) -> None:
    """Titles, grid, and a legend if there is more than one line to tell apart."""
    axes.set_title(title, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True)
    axes.tick_params(length=0)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(fontsize="small")


def save_png(figure: Figure, path: Path) -> Path:
    """Light, whatever the page is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with drawing():
        figure.savefig(path, dpi=_DPI)
    return path


def as_svg(figure: Figure, *, name: str, alt: str) -> str:
    """An `<svg>` element to be set into HTML.

    `name` keeps its ids apart from those of other figures on the page; `alt` is read to those who
    do not see it. Colours are the page's variables.
    """
    stream = io.StringIO()
    with drawing():
        figure.savefig(
            stream,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    root = ET.fromstring(stream.getvalue())  # noqa: S314 - written right here
    _tidy(root, name)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.attrib |= {"role": "img", "aria-label": printable(alt), "class": "chart"}
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    return ET.tostring(root, encoding="unicode")


def _tidy(root: ET.Element, name: str) -> None:
    """Only ids that something refers to, under names of this figure; colours by variable."""
    link = f"{{{_XLINK}}}href"
    used = set()
    for element in root.iter():
        used |= set(_REFERENCE.findall(" ".join(element.attrib.values())))
        used |= {element.attrib[link][1:]} if element.get(link, "").startswith("#") else set()
    for element in root.iter():
        for style in element.findall(f"{{{_SVG}}}style"):
            element.remove(style)  # it would hold for the whole page
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", f"{name}-{own}")
        for key, value in element.attrib.items():
            if key == link and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif key in {"style", "clip-path", "fill", "stroke"}:
                element.set(key, _restyle(_REFERENCE.sub(rf"url(#{name}-\1)", value)))


def _restyle(style: str) -> str:
    for colour, variable in VARIABLES.items():
        style = style.replace(colour, f"var({variable})")
    return _FONT.sub(lambda m: f"{'font-weight: 600; ' if m[1] else ''}font-size: {m[2]}px", style)
