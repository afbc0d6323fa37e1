"""How numbers, times and sizes are written on the page."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

_PASSWORD = re.compile(r"(\w+://[^\s:/@]*:)[^\s@/]+@")
NONE = "\N{EN DASH}"
"""Where there is no number, or one that means nothing."""


def number(value: Any, digits: int = 4) -> str:
    """A float with significant digits; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    whole = len(str(int(abs(value))))
    return f"{value:.{max(0, digits - whole) if abs(value) >= 1 else digits}f}"


def percent(value: Any) -> str:
    """A share, 0…1."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%" if isinstance(value, int | float) else str(value)


def share(value: float) -> str:
    """A score, 0…1; NaN means that there is none."""
    return NONE if math.isnan(value) else f"{value:.3f}"


def duration(seconds: Any) -> str:
    """`1 h 02 min`, `3 min 05 s`, `2.1 s`; "" if it is no number."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def size(count: Any) -> str:
    """Bytes, in the unit that reads best."""
    if not isinstance(count, int):
        return ""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def moment(iso: Any) -> str:
    """`2026-01-31 12:00:00 UTC`; what is no time as it is."""
    try:
        when = datetime.fromisoformat(str(iso))
    except ValueError:
        return str(iso or "")
    return f"{when:%Y-%m-%d %H:%M:%S} {when.tzname() or ''}".strip()


def without_passwords(text: str) -> str:
    """`postgresql://me:secret@host` → `postgresql://me:***@host`: a page is passed on."""
    return _PASSWORD.sub(r"\1***@", text)
