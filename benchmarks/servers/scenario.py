"""Scenario: sides that take turns under one load, and what is claimed of their figures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.rounds import Interval, interval, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.servers.bench import Bench

Figures = dict[str, float]
"""What one side showed in one round, by name."""
Round = dict[str, Figures]
"""By side."""


@dataclass(frozen=True)
class Claim:
    """A number made of one round's figures, and where it should lie."""

    name: str
    value: Callable[[Round], float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def aim(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return "" if self.at_most is None else f"≤ {self.at_most:g}"

    def met(self, value: float) -> bool:
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is None or value <= self.at_most


@dataclass(frozen=True)
class Scenario:
    """Sides by name."""

    name: str
    about: str
    sides: Mapping[str, Callable[[Bench], Figures]]
    claims: tuple[Claim, ...]


def play(scenario: Scenario, bench: Bench, *, rounds: int) -> dict[str, Any]:
    """Every side once a round; the figures, and each claim's median over the rounds."""
    turns = {name: partial(side, bench) for name, side in scenario.sides.items()}
    found = take_turns(turns, rounds=rounds)
    by_round: list[Round] = [
        dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)
    ]
    claims = {}
    for claim in scenario.claims:
        value = interval([claim.value(seen) for seen in by_round])
        claims[claim.name] = {**vars(value), "aim": claim.aim, "met": claim.met(value.median)}
    return {"about": scenario.about, "sides": found, "claims": claims}


def quotient(figure: str, one: str, other: str) -> Callable[[Round], float]:
    """The same figure of two sides."""
    return lambda seen: seen[one][figure] / seen[other][figure]


def table(name: str, found: Mapping[str, Any]) -> str:
    """One scenario's medians and claims, for people."""
    lines = [f"{name}: {found['about']}"]
    for side, rounds in found["sides"].items():
        figures = (
            f"{LABELS.get(key, key)} {_round(interval([seen[key] for seen in rounds]).median)}"
            for key in rounds[0]
        )
        lines.append(f"  {side:<10} {' · '.join(figures)}")
    for claim, value in found["claims"].items():
        span = Interval(value["median"], value["low"], value["high"]).shown(_round)
        aim = (
            f"   aim {value['aim']}: {'met' if value['met'] else 'MISSED'}" if value["aim"] else ""
        )
        lines.append(f"  {claim:<52} {span}{aim}")
    return "\n".join(lines)


LABELS = {
    "per_second": "requests/s",
    "cpu_per_1000": "CPU s per 1,000",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "batch_ms": "a batch's ms",
    "lone_ms": "a lone request's ms",
    "share": "share of saturation",
    "p99_ms_at_70": "p99 ms there",
    "peak_per_second": "peak, requests/s",
    "offered": "offered, of the peak",
    "goodput": "good answers, of the peak",
    "busiest_percent": "busiest process, % of a core",
}


def _round(value: float) -> str:
    """Three figures, or all before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
