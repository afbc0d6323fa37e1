"""What API processes tell the watcher of how the versions of a model did."""

from __future__ import annotations

from serving.routing.messages import Observed
from serving.routing.outcomes import Outcomes
from serving.run import Run


def bad_challenger() -> Observed:
    """Version 2 of m fails whenever it is asked, and version 1 never does."""
    good, bad = Outcomes(), Outcomes()
    for _ in range(300):
        good.record(200, [Run(0.01)])
        bad.record(500, [Run(0.01)])
    return Observed({("m", "1"): good, ("m", "2"): bad})
