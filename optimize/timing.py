"""Timing: from the durations of calls to medians, tails and ratios with their uncertainty."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

ROUNDS = 6
"""Fewer give no 95 % interval of a median: all of it lies above or below them more often than that,
2 / 2^n of the time.
"""
BUSY = 0.1
"""Share of the cores in others' hands from which on times are not to be trusted."""
ANEW = "measure on an idle machine, with optimize.benchmark.anew=true"
"""What to do about it."""
TAIL_CALLS = 100
"""Fewer have no 99th percentile: it would be their slowest."""
_RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One contestant at one batch size."""

    p50_ms: float
    """Median time of a call, in milliseconds."""
    p99_ms: float | None
    """What one call in a hundred takes longer than; None if fewer than a hundred were made."""
    samples_per_second: float
    """Over all of the time: slow calls count in it, and in the median they do not."""
    speedup: float | None
    """How many times as fast as the baseline: the median over rounds of the ratio of medians; None
    on another device than the baseline's."""
    low: float | None
    """The bootstrap's 95 % interval of `speedup`; None of fewer rounds than have one."""
    high: float | None
    calls: int


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What a benchmark found."""

    threads: int
    rounds: int
    baseline: str
    timings: Mapping[str, Mapping[int, Timing]]
    """Contestant → batch size → timing."""
    failed: Mapping[str, str]
    """Contestant → why it could not be timed."""
    load: Mapping[str, Any]
    """What else the machine did."""
    apart: Mapping[str, str] = field(default_factory=dict)
    """Contestant → why its times are not compared with the baseline's."""

    @property
    def busy(self) -> bool:
        """Whether others had so much of the machine that no figure is to be believed."""
        return bool(self.load["others"] > BUSY)

    def speed(self, name: str) -> float | None:
        """Times as fast as the baseline, the geometric mean over batch sizes; None: not timed, or
        not compared.
        """
        ratios = [timing.speedup for timing in self.timings.get(name, {}).values()]
        known = [ratio for ratio in ratios if ratio is not None]
        return float(np.exp(np.mean(np.log(known)))) if known else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON, for `from_dict`."""
        return asdict(self) | {
            "timings": {
                name: {str(size): asdict(timing) for size, timing in by_size.items()}
                for name, by_size in self.timings.items()
            }
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        timings = {
            name: {int(size): Timing(**timing) for size, timing in by_size.items()}
            for name, by_size in value["timings"].items()
        }
        return cls(**{**value, "timings": timings})


def summarize(
    turns: Mapping[str, Mapping[int, Sequence[Sequence[int]]]],
    *,
    baseline: str,
    apart: Collection[str] = (),
) -> dict[str, dict[int, Timing]]:
    """`turns`: contestant → batch size → the nanoseconds of each round's calls. `apart`: those that
    are not compared with the baseline.
    """
    return {
        name: {
            size: _summarize(size, rounds, None if name in apart else turns[baseline][size])
            for size, rounds in by_size.items()
        }
        for name, by_size in turns.items()
    }


def _summarize(
    size: int, rounds: Sequence[Sequence[int]], reference: Sequence[Sequence[int]] | None
) -> Timing:
    calls = np.concatenate([np.asarray(each, dtype=np.float64) for each in rounds]) / 1e6
    ratio, low, high = (None, None, None) if reference is None else _ratio(rounds, reference)
    return Timing(
        p50_ms=float(np.median(calls)),
        p99_ms=float(np.percentile(calls, 99)) if len(calls) >= TAIL_CALLS else None,
        samples_per_second=float(1e3 * size * len(calls) / calls.sum()),
        speedup=ratio,
        low=low,
        high=high,
        calls=len(calls),
    )


def _ratio(
    rounds: Sequence[Sequence[int]], reference: Sequence[Sequence[int]]
) -> tuple[float, float | None, float | None]:
    own = np.array([np.median(each) for each in rounds])
    ratios = np.array([np.median(each) for each in reference]) / own  # (rounds,)
    low, high = bootstrap_interval(ratios) if len(ratios) >= ROUNDS else (None, None)
    return float(np.median(ratios)), low, high


def bootstrap_interval(
    values: np.ndarray[Any, np.dtype[np.float64]], *, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of the median of `values`, resampled."""
    draws = np.random.default_rng(seed).integers(0, len(values), size=(_RESAMPLES, len(values)))
    medians = np.median(values[draws], axis=1)
    low, high = np.percentile(medians, _INTERVAL)
    return float(low), float(high)
