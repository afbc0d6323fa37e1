from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from optimize.bound import Z_95, _score, paired_lower_bound, samples_needed


@pytest.mark.parametrize("samples", [10, 500, 2500])
def test_bound_says_what_the_samples_can_say_when_no_answer_changed(samples):
    """So large a loss would have shown itself in 95 of 100 experiments."""
    bound = paired_lower_bound(gains=0, losses=0, samples=samples)
    assert (1 + bound) ** samples == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize(("losses", "samples"), [(1, 948), (3, 1551), (40, 2000)])
def test_bound_is_the_exact_one_when_nothing_was_gained(losses, samples):
    bound = paired_lower_bound(gains=0, losses=losses, samples=samples)
    assert scipy.stats.binom.cdf(losses, samples, -bound) <= 0.05 + 1e-6
    assert bound >= -scipy.stats.beta.ppf(0.95, losses + 1, samples - losses) - 1e-6


@pytest.mark.parametrize("samples", [598, 894, 1206, 2500])
@pytest.mark.parametrize("gain", [0.0, 0.002, 0.01])
def test_gate_certifies_a_variant_that_loses_just_too_much_once_in_20_times_at_most(samples, gain):
    budget = 0.005
    draws = np.random.default_rng(1).multinomial(
        samples, [gain, gain + budget, 1 - 2 * gain - budget], size=20_000
    )
    counts, repeats = np.unique(draws[:, :2], axis=0, return_counts=True)
    passed = [
        paired_lower_bound(gains=int(gains), losses=int(losses), samples=samples) >= -budget
        and samples >= samples_needed(discordance=(gains + losses) / samples, budget=budget)
        for gains, losses in counts
    ]
    assert np.average(passed, weights=repeats) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 20_000)


def test_samples_needed_are_the_more_the_more_answers_differ():
    assert samples_needed(discordance=0.0, budget=0.005) == 598
    assert samples_needed(discordance=0.023, budget=0.005) == 2490
    assert samples_needed(discordance=0.023, budget=0.01) == 623
    assert samples_needed(discordance=0.0, budget=1.0) == 1


def test_bound_passes_at_the_number_of_samples_that_is_needed_for_no_change():
    needed = samples_needed(discordance=0.0, budget=0.005)
    assert paired_lower_bound(gains=0, losses=0, samples=needed) >= -0.005
    assert paired_lower_bound(gains=0, losses=0, samples=needed - 1) < -0.005


def test_bound_agrees_with_the_published_interval():
    # Tango 1998, table IV: 44 pairs, one of them discordant; 95 % two-sided (-0.0600, 0.1180)... of
    # which the lower end is where the score is the normal's 97.5 % quantile.
    assert _score(-0.0600, gains=1, losses=0, samples=44) == pytest.approx(1.95996, abs=0.01)


def test_bound_approaches_the_normal_one_when_samples_are_many():
    gains, losses, samples = 4_000, 5_000, 1_000_000
    delta = (gains - losses) / samples
    error = np.sqrt((gains + losses) / samples - delta**2) / np.sqrt(samples)
    bound = paired_lower_bound(gains=gains, losses=losses, samples=samples)
    assert bound == pytest.approx(delta - Z_95 * error, rel=5e-3)


def test_bound_is_below_the_change_and_rises_with_the_gains():
    bounds = [paired_lower_bound(gains=gains, losses=5, samples=300) for gains in range(10)]
    assert bounds == sorted(bounds)
    assert all(bound < (gains - 5) / 300 for gains, bound in enumerate(bounds))


@pytest.mark.parametrize(("gain", "loss", "samples"), [(0.01, 0.015, 500), (0.05, 0.05, 200)])
def test_bound_lies_below_the_truth_in_95_percent_of_experiments(gain, loss, samples):
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(samples, [gain, loss, 1 - gain - loss], size=2000)
    counts, repeats = np.unique(drawn[:, :2], axis=0, return_counts=True)
    below = [
        paired_lower_bound(gains=int(gains), losses=int(losses), samples=samples) <= gain - loss
        for gains, losses in counts
    ]
    assert np.average(below, weights=repeats) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_bound_is_refused_when_counts_cannot_be(counts):
    gains, losses, samples = counts
    with pytest.raises(ValueError, match="cannot be"):
        paired_lower_bound(gains=gains, losses=losses, samples=samples)
