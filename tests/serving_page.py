"""docs/serving.md, taken apart: its settings and its metrics."""

from __future__ import annotations

import re
from pathlib import Path

from serving.settings import SPECS, docstrings, flag

PAGE = Path(__file__).resolve().parent.parent / "docs" / "serving.md"
OF_THE_MACHINE = {"api_processes": "half the cores, 2 to 4; on one core 1"}


def settings_rows() -> list[str]:
    """The settings as the page's table has them."""
    texts = docstrings()
    rows = []
    for name, spec in SPECS.items():
        default = OF_THE_MACHINE.get(name) or str(spec.default if spec.default != () else "")
        shown = f"`{default}`" if default and name not in OF_THE_MACHINE else default
        rows.append(f"| `{flag(spec)}` | {shown} | {texts[name]} |")
    return rows


def metric_names() -> set[str]:
    """All metrics that a table of the page has."""
    return set(re.findall(r"`((?:trainyard|nv)_[a-z0-9_]+)`", _tables()))


def _tables() -> str:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.startswith("| `"))
