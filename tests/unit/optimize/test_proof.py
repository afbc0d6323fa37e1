from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from optimize.assess import Assessor
from optimize.cache import ContentCache
from optimize.errors import ParityError
from optimize.progress import StageProgress
from optimize.proof import compare_shapes, prove
from optimize.reference import TorchReference
from optimize.schema import OptimizeConfig
from optimize.subject import Subject, load_subject
from tests.tiny_checkpoint import shared_checkpoint
from trainer.restore import restore


@pytest.fixture(scope="module")
def subject(tmp_path_factory) -> Subject:
    restored = restore(shared_checkpoint(tmp_path_factory, "images"))
    return load_subject(restored, max_samples=50, rows=8)


@pytest.fixture
def progress() -> StageProgress:
    return StageProgress(Console(file=io.StringIO()))


def proof_of(subject, candidate, progress):
    settings, cache = OptimizeConfig(), ContentCache(None)
    assessor = Assessor(subject, settings, cache=cache, progress=progress)
    return prove(
        subject,
        compare_shapes(subject, {}, lambda: candidate, settings=settings, cache=cache),
        assessor.assess("torch", {}, lambda: subject.reference),
        assessor.assess("fp32", {}, lambda: candidate),
        variant="fp32",
    )


def test_proof_is_certified_when_the_candidate_is_the_checkpoint(subject, progress):
    proof = proof_of(subject, TorchReference(subject.restored.model), progress)
    assert proof.verdict.certified
    assert proof.parity.rows > 50
    assert proof.parity.shapes == 3
    assert proof.verdict.result.agreement == 1.0
    assert proof.to_dict()["evaluation"]["samples"] == 50


def test_proof_is_not_certified_when_company_changes_the_logits(subject, progress):
    changing = TorchReference(subject.restored.model)
    spoiled = Subject(
        restored=subject.restored,
        data=subject.data,
        held_out=subject.held_out,
        rows=subject.rows,
        reference=lambda batch: changing(batch) + np.float32(0.01 * len(batch["image"])),
    )
    proof = proof_of(spoiled, spoiled.reference, progress)
    assert proof.invariance.max_abs_diff > 1e-3
    assert not proof.verdict.certified


def test_proof_is_refused_when_only_a_real_sample_shows_the_difference(subject, progress):
    reference = TorchReference(subject.restored.model)
    last = subject.preprocessor(subject.held_out.raw[49])["image"]

    def candidate(batch):
        answer = reference(batch).copy()
        answer[[np.array_equal(image, last) for image in batch["image"]]] += 1
        return answer

    with pytest.raises(ParityError, match=r"by 1 in a logit \(test samples\)"):
        proof_of(subject, candidate, progress)
