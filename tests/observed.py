"""What API processes tell the watcher of how the versions of a model did."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.uri import Resolved
from serving.routing.messages import Observed
from serving.routing.outcomes import Outcomes
from serving.routing.split import Split
from serving.routing.wanted import Route, Wanted
from serving.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICKS = count(1)


def settled_split(percent: dict[int, float], *, uri: str = "models:/m") -> Wanted:
    """Of versions of m; the lowest is the champion."""
    return Wanted(
        uri=uri,
        sources=tuple(
            Resolved(name="m", version=str(number), path=Path(f"/m/{number}"), bare=False)
            for number in percent
        ),
        route=Route(name="m", salt="m", split=Split.of(percent, champion=min(percent))),
    )


def whole_tick(outcomes: dict[tuple[str, str], Outcomes]) -> Iterator[Observed]:
    """That this was seen, and that the tick is over."""
    tick = next(_TICKS)
    yield Observed(outcomes, tick)
    yield Observed({}, tick + 1)


def bad_challenger() -> dict[tuple[str, str], Outcomes]:
    """Version 2 of m fails whenever it is asked, and version 1 never does."""
    good, bad = Outcomes(), Outcomes()
    for _ in range(300):
        good.record(200, [Run(0.01)])
        bad.record(500, [Run(0.01)])
    return {("m", "1"): good, ("m", "2"): bad}
