"""The gate: what may be claimed of a variant, and on what evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bundle.finite import all_finite
from bundle.manifest import GateResult
from optimize.bound import paired_lower_bound, samples_needed
from optimize.passes.base import CALIBRATION_SPLIT, LEARNED_FROM

if TYPE_CHECKING:
    from optimize.evaluate import Evaluation
    from optimize.schema import GateConfig
    from optimize.verify import Invariance, Parity


@dataclass(frozen=True, kw_only=True)
class Source:
    """Samples that a pass has read: what it learned ranges from, or chose by."""

    use: str
    """"calibration" or "tuning"."""
    split: str
    fingerprint: str
    samples: int
    """As many as were drawn; a pass that looks at fewer has that among its parameters."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One of the gate's questions."""

    name: str
    passed: bool
    text: str
    """What was found and what was asked for."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer, as the manifest has it, and what it was made of."""

    certified: bool
    result: GateResult
    checks: tuple[Check, ...]


def certify_by_parity(
    evaluation: Evaluation,
    *,
    reference: str,
    candidate: str,
    parity: Parity,
    invariance: Invariance,
) -> Verdict:
    """For a variant whose logits are the original's up to rounding, alone and in company.

    Its proof is the parity of the logits, not the accuracy: no budget is spent, and the bound
    is there to be read.
    """
    checks = (
        Check(
            name="parity",
            passed=parity.max_abs_diff <= parity.tolerance,
            text=f"logits differ by {parity.max_abs_diff:.1e} at most "
            f"(allowed {parity.tolerance:g}) over {parity.rows} rows in {parity.shapes} shapes",
        ),
        Check(
            name="batch",
            passed=invariance.max_abs_diff <= parity.tolerance,
            text=f"{invariance.flips} of {invariance.samples} answers change in a batch of "
            f"{invariance.company}",
        ),
    )
    return Verdict(
        certified=all(check.passed for check in checks),
        result=_result(
            evaluation,
            reference=reference,
            candidate=candidate,
            settings=None,
            batch_invariant=invariance.holds,
            reason="; ".join(f"{check.name}: {check.text}" for check in checks),
        ),
        checks=checks,
    )


def judge(
    evaluation: Evaluation,
    *,
    reference: str,
    candidate: str,
    split: str,
    data_changed: bool,
    sources: tuple[Source, ...],
    invariance: Invariance | None,
    settings: GateConfig,
) -> Verdict:
    """For a variant that trades accuracy: certified if every one of the checks passes.

    `split`: what the evaluation's samples are; `data_changed`: since the training, so that they may
    be among what it learned from; `sources`: what the variant was made with; `invariance` is None
    where it could not be measured because an answer is not finite.
    """
    if invariance is None or not all_finite(evaluation.logits[candidate]):
        finite = Check(name="finite", passed=False, text="an output holds NaN or infinity")
        result = replace(
            _limits(settings),
            samples=len(evaluation.labels),
            reason=f"not certified: {finite.text}",
        )
        return Verdict(certified=False, result=result, checks=(finite,))
    checks = (
        Check(name="finite", passed=True, text="every output is finite"),
        _provenance(sources, split, data_changed=data_changed),
        *_accuracy(evaluation, reference, candidate, settings.budget),
        _agreement(evaluation.agreement(candidate, reference), settings.agreement),
        *_batch(invariance, settings.batch_flips),
    )
    failed = [check for check in checks if not check.passed]
    reason = "; ".join(check.text for check in failed or checks)
    return Verdict(
        certified=not failed,
        result=_result(
            evaluation,
            reference=reference,
            candidate=candidate,
            settings=settings,
            batch_invariant=invariance.holds,
            reason=f"{'not certified' if failed else 'certified'}: {reason}",
        ),
        checks=checks,
    )


def _provenance(sources: tuple[Source, ...], split: str, *, data_changed: bool) -> Check:
    """Ranges learned from noise pass every test of accuracy and have logits of another world."""
    foreign = [source for source in sources if source.split not in LEARNED_FROM]
    if foreign:
        found = foreign[0]
        text = (
            f"{found.use} samples are of split {found.split!r}, not real data of the "
            f"{' or '.join(LEARNED_FROM)} split"
        )
        return Check(name="provenance", passed=False, text=text)
    if split == CALIBRATION_SPLIT:
        text = f"the samples to judge by are of the {split} split, which training has seen"
        return Check(name="provenance", passed=False, text=text)
    if data_changed:
        text = (
            "the data have changed since the training, and the samples to judge by may be among "
            "those that it learned from"
        )
        return Check(name="provenance", passed=False, text=text)
    used = ", ".join(f"{source.use} on the {source.split} split" for source in sources)
    return Check(name="provenance", passed=True, text=used or "made without samples")


def _accuracy(
    evaluation: Evaluation, reference: str, candidate: str, budget: float
) -> tuple[Check, Check]:
    """Whether the samples could have shown the loss, and whether they show none."""
    gains, losses = _discordance(evaluation, reference, candidate)
    samples = len(evaluation.labels)
    needed = samples_needed(discordance=(gains + losses) / samples, budget=budget)
    bound = paired_lower_bound(gains=gains, losses=losses, samples=samples)
    delta = (gains - losses) / samples
    enough = samples >= needed
    power = Check(
        name="samples",
        passed=enough,
        text=f"{samples} samples of {needed} needed at {(gains + losses) / samples:.2%} discordance"
        if enough
        else f"too few samples: {samples}, and certifying {_points(budget)} needs {needed} at "
        f"{(gains + losses) / samples:.2%} discordance",
    )
    accuracy = Check(
        name="accuracy",
        passed=bound >= -budget,
        text=f"accuracy changes by {_points(delta, sign=True)}, with 95 % confidence by at least "
        f"{_hundredths(bound):+.2f} pt (allowed {_points(-budget)})",
    )
    return power, accuracy


def _agreement(found: float, wanted: float) -> Check:
    text = (
        f"{_hundredths(found):.2f}% of the answers are the original's (at least {wanted:.2%} asked)"
    )
    return Check(name="agreement", passed=found >= wanted, text=text)


def _batch(invariance: Invariance, allowed: float) -> tuple[Check, Check]:
    """Whether so many answers could have shown the allowed share of flips, and what they show."""
    needed = samples_needed(discordance=0.0, budget=allowed)
    enough = invariance.samples >= needed
    power = Check(
        name="company",
        passed=enough,
        text=f"{invariance.samples} samples of {needed} needed alone and in a batch"
        if enough
        else f"too few samples alone and in a batch: {invariance.samples}, and showing that at "
        f"most {allowed:.2%} of the answers change needs {needed}",
    )
    share = invariance.flips / invariance.samples
    text = (
        f"{invariance.flips} of {invariance.samples} answers ({share:.2%}) are others in a batch "
        f"of {invariance.company} than alone (at most {allowed:.2%} allowed)"
    )
    return power, Check(name="batch", passed=share <= allowed, text=text)


def _result(
    evaluation: Evaluation,
    *,
    reference: str,
    candidate: str,
    settings: GateConfig | None,
    batch_invariant: bool,
    reason: str,
) -> GateResult:
    """`settings`: what was asked for; None of what is proved by its logits."""
    gains, losses = _discordance(evaluation, reference, candidate)
    samples = len(evaluation.labels)
    return replace(
        GateResult() if settings is None else _limits(settings),
        samples=samples,
        delta=(gains - losses) / samples,
        bound=paired_lower_bound(gains=gains, losses=losses, samples=samples),
        agreement=evaluation.agreement(candidate, reference),
        batch_invariant=batch_invariant,
        reason=reason,
    )


def _limits(settings: GateConfig) -> GateResult:
    """What is asked for, and nothing found yet."""
    return GateResult(
        budget=settings.budget,
        agreement_limit=settings.agreement,
        batch_flips_limit=settings.batch_flips,
    )


def _discordance(evaluation: Evaluation, reference: str, candidate: str) -> tuple[int, int]:
    """Samples that became right, and that became wrong."""
    before, after = evaluation.correct(reference), evaluation.correct(candidate)
    return int(np.count_nonzero(after & ~before)), int(np.count_nonzero(before & ~after))


def _hundredths(share: float) -> float:
    """In percent, rounded down: what is not enough shall not look as though it were."""
    return math.floor(1e4 * share + 1e-9) / 100


def _points(share: float, *, sign: bool = False) -> str:
    return f"{100 * share:+.2f} pt" if sign else f"{100 * share:g} pt"
