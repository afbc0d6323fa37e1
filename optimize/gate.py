"""The gate: what may be claimed of a variant, and on what evidence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from bundle.manifest import GateResult

if TYPE_CHECKING:
    from optimize.evaluate import Evaluation
    from optimize.verify import Invariance, Parity

Z_95 = 1.6448536269514722
"""The standard normal's 95 % quantile: one-sided 95 %."""
_BISECTIONS = 60


def certify_by_parity(
    evaluation: Evaluation,
    *,
    reference: str,
    candidate: str,
    parity: Parity,
    invariance: Invariance,
) -> GateResult:
    """The evidence for a variant whose logits are the original's up to rounding.

    Its proof is the parity of the logits, not the accuracy: no budget is spent, and the bound
    is there to be read. (A variant that trades accuracy needs bound ≥ -budget instead.)
    """
    before, after = evaluation.correct(reference), evaluation.correct(candidate)
    return GateResult(
        budget=None,
        samples=len(evaluation.labels),
        delta=float(after.mean() - before.mean()),
        bound=paired_lower_bound(
            gains=int(np.count_nonzero(after & ~before)),
            losses=int(np.count_nonzero(before & ~after)),
            samples=len(evaluation.labels),
        ),
        agreement=evaluation.agreement(candidate, reference),
        batch_invariant=invariance.holds,
        reason=(
            f"parity: logits differ by {parity.max_abs_diff:.1e} at most "
            f"(allowed {parity.tolerance:g}) over {parity.rows} rows in {parity.shapes} shapes; "
            f"{invariance.flips} of {invariance.samples} answers change in a batch"
        ),
    )


def paired_lower_bound(*, gains: int, losses: int, samples: int) -> float:
    """One-sided 95 % lower bound on the change of accuracy between two models on the same samples.

    `gains` of the samples became right and `losses` became wrong. Tango's score interval
    (Statistics in Medicine 17, 1998): unlike the Wald interval it has its coverage for few
    discordant samples, and for none it says what n samples can say: -z²/(n + z²).
    """
    if samples < 1 or gains < 0 or losses < 0 or gains + losses > samples:
        raise ValueError(f"{gains} gains and {losses} losses of {samples} samples cannot be")
    low, high = -1.0, (gains - losses) / samples
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _score(middle, gains=gains, losses=losses, samples=samples) > Z_95:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _score(delta: float, *, gains: int, losses: int, samples: int) -> float:
    """Tango's statistic: how many standard errors the observed change lies above `delta`."""
    # The probability of a loss if the true change is `delta`: the root of a p² + b p + c = 0.
    a = 2 * samples
    b = (2 * samples - gains + losses) * delta - gains - losses
    c = -losses * delta * (1 - delta)
    loss = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = samples * (2 * loss + delta * (1 - delta))
    distance = gains - losses - samples * delta
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)
