"""Evidence is at most 1 in the mean where nothing is wrong, and begins again and again."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from serving.routing.evidence import BEGIN_TICKS, Evidence
from serving.routing.failures import MORE, NO_MORE
from serving.routing.slowness import NO_SLOWER, SLOWER

EVERY = np.linspace(0.0, 1.0, 41)


def binomial(count: int, proportion: float) -> list[float]:
    return [
        math.comb(count, hits) * proportion**hits * (1 - proportion) ** (count - hits)
        for hits in range(count + 1)
    ]


@pytest.mark.parametrize(
    ("alternatives", "margin", "more"),
    [(SLOWER, 0.0, True), (NO_SLOWER, 0.0, False), (MORE, 0.005, True), (NO_MORE, 0.02, False)],
)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (6, 2), (1, 5)])
def test_the_mean_of_each_ratio_is_at_most_one_for_every_pair_of_the_null_hypothesis(
    alternatives, margin, more, n, m
):
    """Of all outcomes of a block."""
    ratios = np.empty((n + 1, m + 1, len(alternatives)))
    for hits, others in product(range(n + 1), range(m + 1)):
        evidence = Evidence(alternatives, margin=margin)
        evidence.add([np.array([[hits, n], [others, m]])])
        ratios[hits, others] = 2 * np.exp(evidence._logs)  # the first stake is a half
    means = [
        np.einsum("i,j,ijk->k", binomial(n, p), binomial(m, q), ratios)
        for p, q in product(EVERY, EVERY)
        if (q <= p + margin if more else q >= p + margin)
    ]
    assert np.max(means) <= 1 + 1e-6
    assert np.max(means) > 0.99  # and no smaller than it has to be


def test_it_is_hardly_ever_wrong_however_often_products_begin():
    """At a level of 10 %, at the edge of the null hypothesis."""
    alpha, runs, rng = 0.1, 200, np.random.default_rng(0)
    wrong = 0
    for _ in range(runs):
        evidence = Evidence(SLOWER)
        for _ in range(30 * BEGIN_TICKS):
            hits, others = rng.binomial((5, 5), 0.05)
            evidence.add([np.array([[hits, 5], [others, 5]])])
            if evidence.suffices(alpha):
                wrong += 1
                break
    print(f"{wrong} of {runs} runs")
    assert wrong <= runs * alpha


@pytest.mark.parametrize("quiet", [0, 100 * BEGIN_TICKS])
def test_what_begins_late_is_found_though_much_spoke_against_it(quiet):
    evidence = Evidence(SLOWER)
    for _ in range(quiet):
        evidence.add([np.array([[2, 40], [0, 10]])])
    ticks = 0
    while not evidence.suffices(0.005):
        evidence.add([np.array([[2, 40], [5, 10]])])
        ticks += 1
    assert ticks <= (4 if quiet else 2)


def test_ticks_in_which_nothing_is_compared_do_not_count():
    evidence = Evidence(SLOWER)
    for _ in range(1000):
        evidence.add([])
    assert evidence._ticks == 0
    assert not evidence.suffices(0.5)
