"""Findings: everything that an export showed, for its tables, its report and its choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optimize.select import Standing, pareto

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optimize.proof import Proof
    from optimize.select import Choice
    from optimize.target import ResolvedTarget
    from optimize.timing import Contest
    from optimize.variants import Candidate


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Eager torch, or another runtime, with the same weights: compared, and never shipped."""

    name: str
    precision: str
    bytes: int
    """Of its weights."""
    agreement: float | None
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """`candidates` begins with fp32, the exported model itself."""

    target: ResolvedTarget
    proof: Proof
    split: str
    """Of the samples that everything was judged on."""
    checkpoint_bytes: int
    candidates: Sequence[Candidate]
    baselines: Sequence[Baseline] = ()
    contest: Contest | None = None
    """None if nothing was timed."""
    occasion: Mapping[str, Any] | None = None
    """When and where the contest took place."""
    choice: Choice

    @property
    def frontier(self) -> set[str]:
        """Names of the certified variants and the baselines that nothing else beats in everything.

        What the gate refused is no alternative to anything.
        """
        baselines = {each.name for each in self.baselines}
        eligible = standings(self.candidates, self.baselines, self.contest)
        return pareto([each for each in eligible if each.certified or each.name in baselines])


def standings(
    candidates: Sequence[Candidate], baselines: Sequence[Baseline], contest: Contest | None
) -> list[Standing]:
    """All that has a file or is a baseline, candidates first."""
    found = [
        _standing(
            candidate.name,
            contest,
            certified=candidate.certified,
            agreement=candidate.verdict.result.agreement,
            size=candidate.graph.bytes,
            shipped=True,
        )
        for candidate in candidates
        if candidate.graph is not None
    ]
    return found + [
        _standing(
            each.name,
            contest,
            certified=False,
            agreement=each.agreement,
            size=each.bytes,
            shipped=False,
        )
        for each in baselines
    ]


def _standing(
    name: str,
    contest: Contest | None,
    *,
    certified: bool,
    agreement: float | None,
    size: int,
    shipped: bool,
) -> Standing:
    timings = None if contest is None else contest.timings.get(name)
    return Standing(
        name=name,
        certified=certified,
        agreement=agreement,
        bytes=size,
        shipped=shipped,
        timings=None if timings is None else dict(timings),
        speed=None if contest is None else contest.speed(name),
    )
