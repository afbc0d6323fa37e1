"""Selection: which certified variant answers, and which forms of the model nothing else beats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optimize.timing import Timing


_Costs = tuple[float | None, ...]
"""None: not known."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One form of the model, as the selection sees it."""

    name: str
    certified: bool
    """Only what is certified can be chosen; a baseline is compared and never chosen."""
    agreement: float | None
    """Share of answers that are the original's."""
    bytes: int
    shipped: bool = True
    """Whether `bytes` are a file's; with those, bare weights in memory are not compared."""
    timings: dict[int, Timing] | None
    """By batch size; None if it was not timed."""
    speed: float | None
    """Times as fast as the baseline, the geometric mean over batch sizes."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The default variant and why it is."""

    name: str
    reason: str


def choose(standings: Sequence[Standing], *, fallback: str, margin: float) -> Choice:
    """The fastest certified form; of those that are nearly as fast, the most faithful.

    Differences below `margin` are what two runs of a benchmark differ by. Within it the choice
    goes by what does not vary from run to run: agreement, then size, then the order given. So two
    exports choose alike unless a variant lies at the very edge of the margin.
    """
    timed = [each for each in standings if each.certified and each.speed is not None]
    if not timed:
        certified = [each for each in standings if each.certified]
        why = "nothing was timed" if certified else "nothing is certified"
        return Choice(name=fallback, reason=why)
    fastest = max(each.speed or 0.0 for each in timed)
    near = [each for each in timed if (each.speed or 0.0) >= fastest * (1 - margin)]
    best = min(near, key=lambda each: (-(each.agreement or 0.0), each.bytes))
    if len(timed) == 1:
        return Choice(name=best.name, reason="the only certified variant that was timed")
    reason = "the fastest certified variant"
    if len(near) > 1:
        others = ", ".join(each.name for each in near if each is not best)
        reason = f"as fast as {others} within {margin:.0%}, and ahead in agreement or size"
    left_out = [each.name for each in standings if each.certified and each.speed is None]
    if left_out:
        reason += f"; {', '.join(left_out)} had no ratio to be chosen by"
    return Choice(name=best.name, reason=reason)


def pareto(standings: Sequence[Standing]) -> set[str]:
    """Those that no other equals or beats in everything: p50, p99 and throughput at each batch
    size, file size and agreement; of two, in what is known of both.
    """
    costs = {each.name: _costs(each) for each in standings}
    known = {name: cost for name, cost in costs.items() if cost is not None}
    return {
        name
        for name, cost in known.items()
        if not any(_dominates(other, cost) for key, other in known.items() if key != name)
    }


def _costs(standing: Standing) -> _Costs | None:
    """Less is better in each; None if it was not timed or gave no answers."""
    if standing.timings is None or standing.agreement is None:
        return None
    speeds = [
        cost
        for _, timing in sorted(standing.timings.items())
        for cost in (timing.p50_ms, timing.p99_ms, -timing.samples_per_second)
    ]
    return (*speeds, float(standing.bytes) if standing.shipped else None, -standing.agreement)


def _dominates(one: _Costs, other: _Costs) -> bool:
    pairs = zip(one, other, strict=True)
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    return all(a <= b for a, b in both) and any(a < b for a, b in both)
