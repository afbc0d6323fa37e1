from __future__ import annotations

import numpy as np
import pytest

from optimize.evaluate import Evaluation
from optimize.gate import Z_95, _score, certify_by_parity, paired_lower_bound
from optimize.verify import Invariance, Parity


@pytest.mark.parametrize("samples", [10, 500, 2500])
def test_bound_says_what_the_samples_can_say_when_no_answer_changed(samples):
    bound = paired_lower_bound(gains=0, losses=0, samples=samples)
    assert bound == pytest.approx(-(Z_95**2) / (samples + Z_95**2), rel=1e-6)


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


def test_certificate_reports_what_was_measured():
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    other = np.eye(3, dtype=np.float32)[[0, 1, 2, 1]]
    gate = certify_by_parity(
        Evaluation(labels=np.array([0, 1, 2, 1]), logits={"torch": logits, "fp32": other}),
        reference="torch",
        candidate="fp32",
        parity=Parity(max_abs_diff=2e-6, tolerance=1e-4, rows=40, shapes=3),
        invariance=Invariance(samples=4, max_abs_diff=1e-6, flips=1),
    )
    assert (gate.samples, gate.delta, gate.agreement) == (4, 0.25, 0.75)
    assert gate.bound == paired_lower_bound(gains=1, losses=0, samples=4)
    assert gate.budget is None
    assert gate.batch_invariant is False
    assert "2.0e-06" in gate.reason
    assert "1 of 4 answers change" in gate.reason
