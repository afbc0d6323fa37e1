"""Table and picture of a comparison."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from benchmarks.rounds import Interval, brackets, interval, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BEGIN, END = "<!-- peers: written by make bench-peers -->", "<!-- peers: end -->"
TITLES = {
    "null": "null model, 4 numbers",
    "cnn": "small CNN, 784 pixels",
    "mixed": "MiniLM, mixed texts",
}


def ratios(turns: Mapping[str, list[dict[str, float]]]) -> dict[str, Interval]:
    """Requests a second of the first side's, by side."""
    first = [seen["per_second"] for seen in next(iter(turns.values()))]
    return {
        title: ratio([seen["per_second"] for seen in rounds], first)
        for title, rounds in turns.items()
    }


def markdown(figures: Mapping[str, Any]) -> str:
    """A row a server, a column a load: share of the first one's throughput, p99, CPU time."""
    loads = figures["loads"]
    shares = {load: ratios(turns) for load, turns in loads.items()}
    titles = dict.fromkeys(title for turns in loads.values() for title in turns)
    lines = [
        "| server | " + " | ".join(TITLES[load] for load in loads) + " |",
        "|---" * (len(loads) + 1) + "|",
    ]
    for title in titles:
        version = figures["versions"].get(title)
        cells = [f"{title} {version}" if version else title]
        for load, turns in loads.items():
            cells.append(_cell(shares[load][title], turns[title]) if title in turns else "not run")
        lines.append("| " + " | ".join(cells) + " |")
    machine, settings = figures["machine"], figures["settings"]
    legend = (
        f"Requests a second as a share of Trainyard's [{brackets(settings['rounds'])}] · p99 in"
        " ms · CPU seconds per 1,000 requests."
    )
    place = (
        f"{machine['processor']}, {machine['cores']} cores shared with the client and with"
        f" {machine['load_before']:.1f} other processes on average, ONNX Runtime"
        f" {machine['onnxruntime']}; medians of {settings['rounds']} rounds of"
        f" {settings['seconds']:g} s."
    )
    lines += ["", legend, place]
    lines += ["", *(f"Skipped: {title}: {reason}." for title, reason in figures["skipped"].items())]
    return "\n".join(lines).rstrip()


def _cell(share: Interval, rounds: list[dict[str, float]]) -> str:
    p99 = interval([seen["p99_ms"] for seen in rounds]).median
    cpu = interval([seen["cpu_per_1000"] for seen in rounds]).median
    return f"{share.shown('{:.2f}'.format)} · {p99:.0f} · {cpu:.2f}"


def insert(text: str, page: Path) -> None:
    """In place of what stands between the markers. Raises ValueError if they are not there."""
    before = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", flags=re.DOTALL)
    if not pattern.search(before):
        raise ValueError(f"{page} lacks the lines {BEGIN} and {END}")
    after = pattern.sub(lambda _: f"{BEGIN}\n\n{text}\n\n{END}", before)
    page.write_text(after, encoding="utf-8")


def draw(figures: Mapping[str, Any], path: Path) -> None:
    """Bars of throughput, a panel a load, ours first."""
    # Takes half a second to import, and a run that only prints needs none of it.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    loads = figures["loads"]
    with mpl.rc_context({"svg.hashsalt": "peers", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(3.2 * len(loads), 3.0), layout="constrained")
        for index, (load, turns) in enumerate(loads.items()):
            axes = figure.add_subplot(1, len(loads), index + 1)
            shares = ratios(turns)
            names, values = list(shares)[::-1], [share.median for share in shares.values()][::-1]
            colours = ["#9fa8da"] * (len(names) - 1) + ["#3f51b5"]
            bars = axes.barh(names, values, color=colours)
            axes.bar_label(bars, fmt="%.2f", padding=2)
            axes.set_title(TITLES[load], fontsize=9)
            axes.set_xlim(0, max(1.0, *values) * 1.25)
            axes.spines[["top", "right"]].set_visible(False)
        figure.supxlabel("requests a second, as a share of Trainyard's", fontsize=9)
        figure.savefig(path, metadata={"Date": None})
