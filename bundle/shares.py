"""Shares: percent of a model's traffic by version number, which sum to 100."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bundle.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

WHOLE = 100.0
LEAST = 0.01
"""The smallest share, and what all of them are multiples of: servers hash keys into 10,000
buckets."""


def reference(versions: Collection[int], champion: int | None) -> int | None:
    """Of those that answer the one that others are compared with, and that has what they lose.

    The champion, or the lowest number where the champion has no share.
    """
    return champion if champion in versions else min(versions, default=None)


def withdrawn(shares: Mapping[int, float], number: int, *, heir: int) -> dict[int, float]:
    """The shares without the version's, which the heir has now."""
    left = {version: share for version, share in shares.items() if version != number}
    left[heir] = round(left[heir] + shares[number], 2)
    return left


def check_shares(shares: Mapping[int, float]) -> dict[int, float]:
    """The shares in hundredths of a percent, without those of nothing.

    Raises RequestError unless they sum to 100.
    """
    for number, share in shares.items():
        if not math.isfinite(share) or not 0 <= share <= WHOLE:
            raise RequestError(
                f"version {number} has a share of {share:g} percent",
                field=f"shares.{number}",
                remedy="give from 0 to 100 percent",
            )
        if 0 < share < LEAST:
            raise RequestError(
                f"version {number} has a share of {share:g} percent, which is nobody",
                field=f"shares.{number}",
                remedy=f"give at least {LEAST:g} percent, or 0",
            )
    total = math.fsum(shares.values())
    if abs(total - WHOLE) > 1e-9:
        raise RequestError(
            f"the shares sum to {total:.12g} percent",
            field="shares",
            remedy="give shares that sum to 100",
        )
    return _in_hundredths({number: share for number, share in sorted(shares.items()) if share > 0})


def check_shadow_percent(percent: float) -> float:
    """The percent of the requests that a shadow is asked. Raises RequestError for what is none."""
    if not LEAST <= percent <= WHOLE:
        raise RequestError(
            f"percent={percent:g} cannot be what a shadow is asked",
            field="percent",
            remedy=f"give {LEAST:g} to 100",
        )
    return percent


def _in_hundredths(shares: Mapping[int, float]) -> dict[int, float]:
    """Each rounded down, but for those that miss most by it: they are rounded up, to sum to 100."""
    exact = {number: round(share / LEAST, 6) for number, share in shares.items()}
    parts = {number: math.floor(share) for number, share in exact.items()}
    missing = round(WHOLE / LEAST) - sum(parts.values())
    for number in sorted(exact, key=lambda number: parts[number] - exact[number])[:missing]:
        parts[number] += 1
    return {number: part / 100 for number, part in parts.items()}
