from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from optimize.bound import paired_lower_bound
from optimize.evaluate import Evaluation
from optimize.gate import Source, _agreement, certify_by_parity, judge
from optimize.schema import GateConfig
from optimize.verify import Invariance, Parity


def test_certificate_reports_what_was_measured():
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    other = np.eye(3, dtype=np.float32)[[0, 1, 2, 1]]
    verdict = certify_by_parity(
        Evaluation(labels=np.array([0, 1, 2, 1]), logits={"torch": logits, "fp32": other}),
        reference="torch",
        candidate="fp32",
        parity=Parity(max_abs_diff=2e-6, tolerance=1e-4, rows=40, shapes=3),
        invariance=Invariance(samples=4, max_abs_diff=1e-6, flips=1, company=2),
    )
    gate = verdict.result
    assert verdict.certified
    assert (gate.samples, gate.delta, gate.agreement) == (4, 0.25, 0.75)
    assert gate.bound == paired_lower_bound(gains=1, losses=0, samples=4)
    assert (gate.budget, gate.has_limits) == (None, False)
    assert gate.batch_invariant is False
    assert "2.0e-06" in gate.reason
    assert "1 of 4 answers change in a batch of 2" in gate.reason


CLASSES = 4
COMPANY = Invariance(samples=600, max_abs_diff=0.0, flips=0, company=32)
CALIBRATED = Source(use="calibration", split="train", fingerprint="f", samples=512)


def answers(samples=4000, *, gained=0, lost=0, changed=0) -> Evaluation:
    """A reference that is right in nine of ten, and a candidate that differs from it in so many.

    `changed` become wrong in another way.
    """
    labels = np.zeros(samples, dtype=np.int64)
    before = np.where(np.arange(samples) % 10 == 0, 1, 0)
    after = before.copy()
    wrong, right = np.flatnonzero(before == 1), np.flatnonzero(before == 0)
    after[right[:lost]] = 2
    after[wrong[:gained]] = 0
    after[wrong[gained : gained + changed]] = 2
    one_hot = np.eye(CLASSES, dtype=np.float32)
    return Evaluation(labels=labels, logits={"torch": one_hot[before], "int8": one_hot[after]})


def verdict_on(
    evaluation,
    *,
    sources=(CALIBRATED,),
    split="test",
    data_changed=False,
    invariance=COMPANY,
    **settings,
):
    return judge(
        evaluation,
        reference="torch",
        candidate="int8",
        split=split,
        data_changed=data_changed,
        sources=sources,
        invariance=invariance,
        settings=GateConfig(**settings),
    )


def failed(verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def test_variant_is_certified_when_everything_is_shown():
    verdict = verdict_on(answers(gained=8, lost=10))
    assert verdict.certified
    assert failed(verdict) == []
    result = verdict.result
    assert (result.samples, result.batch_invariant) == (4000, True)
    assert result.delta == pytest.approx(-0.0005)
    assert -0.005 < result.bound < result.delta
    assert result.agreement == pytest.approx(1 - 18 / 4000)
    assert result.reason.startswith("certified: every output is finite; calibration on the train")


@pytest.mark.parametrize("invariance", [COMPANY, None])
def test_every_limit_is_told_whatever_was_found(invariance):
    limits = {"budget": 0.01, "agreement": 0.9, "batch_flips": 0.02}
    result = verdict_on(answers(), invariance=invariance, **limits).result
    found = (result.budget, result.agreement_limit, result.batch_flips_limit)
    assert found == tuple(limits.values())


def test_variant_is_refused_when_it_loses_accuracy():
    verdict = verdict_on(answers(gained=0, lost=40))
    assert not verdict.certified
    assert failed(verdict) == ["accuracy"]
    assert "accuracy changes by -1.00 pt" in verdict.result.reason


def test_what_misses_a_limit_by_a_hair_does_not_read_as_though_it_met_it():
    reason = verdict_on(answers(1020, gained=1, lost=2)).result.reason
    assert "by at least -0.51 pt (allowed -0.5 pt)" in reason
    assert _agreement(24499 / 25000, 0.98).text.startswith("97.99% of the answers")
    assert _agreement(0.98, 0.98).text.startswith("98.00% of the answers")


def test_variant_is_refused_naming_the_samples_needed_when_there_are_too_few():
    verdict = verdict_on(answers(500))
    assert failed(verdict) == ["samples", "accuracy"]
    assert "too few samples: 500, and certifying 0.5 pt needs 598 at 0.00%" in verdict.result.reason
    assert verdict.result.delta == 0.0


def test_variant_is_refused_when_luck_outdoes_too_few_samples():
    """The bound alone would pass it."""
    verdict = verdict_on(answers(1000, gained=40, lost=10))
    assert verdict.result.bound > -0.005
    assert failed(verdict) == ["samples", "agreement"]


def test_variant_is_refused_when_it_changes_answers_and_keeps_the_accuracy():
    verdict = verdict_on(answers(changed=268))
    assert verdict.result.delta == 0.0
    assert failed(verdict) == ["agreement"]
    assert "93.30% of the answers are the original's" in verdict.result.reason


def test_variant_is_refused_when_company_changes_its_answers():
    verdict = verdict_on(answers(), invariance=replace(COMPANY, flips=21))
    assert failed(verdict) == ["batch"]
    assert verdict.result.batch_invariant is False
    assert (
        "21 of 600 answers (3.50%) are others in a batch of 32 than alone" in verdict.result.reason
    )


def test_few_flips_are_certified_and_told():
    verdict = verdict_on(answers(), invariance=replace(COMPANY, flips=3))
    assert verdict.certified
    assert verdict.result.batch_invariant is False


def test_variant_is_refused_when_it_was_calibrated_on_noise():
    noise = Source(use="calibration", split="noise", fingerprint="f", samples=512)
    verdict = verdict_on(answers(), sources=(CALIBRATED, noise))
    assert failed(verdict) == ["provenance"]
    assert "calibration samples are of split 'noise'" in verdict.result.reason


def test_variant_is_refused_when_it_learned_from_the_samples_it_is_judged_on():
    own = Source(use="tuning", split="test", fingerprint="f", samples=512)
    assert failed(verdict_on(answers(), sources=(own,))) == ["provenance"]


def test_variant_is_refused_when_it_is_judged_on_what_training_saw():
    assert failed(verdict_on(answers(), split="train", sources=())) == ["provenance"]


def test_variant_is_refused_when_the_data_have_changed_since_the_training():
    verdict = verdict_on(answers(), data_changed=True)
    assert failed(verdict) == ["provenance"]
    assert verdict.result.reason.startswith(
        "not certified: the data have changed since the training"
    )


def test_variant_is_refused_when_too_few_were_asked_alone_and_in_company():
    few = replace(COMPANY, samples=597)
    verdict = verdict_on(answers(), invariance=few)
    assert failed(verdict) == ["company"]
    assert (
        "too few samples alone and in a batch: 597, and showing that at most 0.50% of the answers "
        "change needs 598" in verdict.result.reason
    )
    assert verdict_on(answers(), invariance=few, batch_flips=0.01).certified


def test_variant_is_refused_when_an_output_is_not_finite():
    evaluation = answers()
    evaluation.logits["int8"][5, 2] = np.nan
    verdict = verdict_on(evaluation)
    assert failed(verdict) == ["finite"]
    assert verdict.result.reason == "not certified: an output holds NaN or infinity"
    assert not verdict_on(answers(), invariance=None).certified
