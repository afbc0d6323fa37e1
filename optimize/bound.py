"""What n paired samples can say about a change of accuracy, and how many are needed to say it."""

from __future__ import annotations

import math

Z_95 = 1.6448536269514722
"""The standard normal's 95 % quantile: one-sided 95 %."""
ALPHA = 0.05
_BISECTIONS = 60


def paired_lower_bound(*, gains: int, losses: int, samples: int) -> float:
    """One-sided 95 % lower bound on the change of accuracy between two models on the same samples.

    `gains` of the samples became right and `losses` became wrong. Tango's score interval
    (Statistics in Medicine 17, 1998): unlike the Wald interval it has its coverage for few
    discordant samples. Where nothing was gained the discordance may be losses alone, whose
    distribution is binomial and for which the score interval errs in up to 6.2 % of cases: there
    the exact bound on the losses (Clopper and Pearson, 1934) counts, where it is lower. For no
    discordance it says what n samples can say: 1 - 0.05^(1/n), about 3/n.
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
    score = (low + high) / 2
    return score if gains else min(score, -_most_losses(losses, samples))


def samples_needed(*, discordance: float, budget: float) -> int:
    """Samples that can show that a variant of no loss keeps within `budget`, a share of 1.

    `discordance`: the share of samples that only one of the two models gets right. The larger of
    discordance x (z / budget)², by the normal approximation, and of the number at which losing
    nothing at all bounds the loss by `budget`.
    """
    unlikely = math.log(ALPHA) / math.log1p(-budget) if budget < 1 else 1.0
    return math.ceil(max(discordance * (Z_95 / budget) ** 2, unlikely))


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


def _most_losses(losses: int, samples: int) -> float:
    """The largest probability of a loss under which so few of them are not yet unlikely."""
    if losses >= samples:
        return 1.0
    low, high = losses / samples, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _binomial_tail(losses, samples, middle) > ALPHA:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _binomial_tail(most: int, samples: int, probability: float) -> float:
    """The chance of at most `most` in `samples` draws; 0 < probability < 1 or most < samples."""
    if probability <= 0 or probability >= 1:
        return float(probability <= 0)
    whole = math.lgamma(samples + 1)
    return math.fsum(
        math.exp(
            whole
            - math.lgamma(count + 1)
            - math.lgamma(samples - count + 1)
            + count * math.log(probability)
            + (samples - count) * math.log1p(-probability)
        )
        for count in range(most + 1)
    )
