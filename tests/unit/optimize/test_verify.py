from __future__ import annotations

import numpy as np
import pytest

from optimize.errors import ParityError
from optimize.verify import check_parity, measure_invariance


def linear(offset: float = 0.0):
    return lambda batch: batch["x"].astype(np.float32) + np.float32(offset)


BATCHES = [{"x": np.ones((size, 2), np.float32)} for size in (1, 3, 8)]


def test_parity_reports_the_largest_difference_rows_and_shapes():
    parity = check_parity(linear(), linear(2**-14), [*BATCHES, BATCHES[0]], tolerance=1e-4)
    assert parity.max_abs_diff == 2**-14
    assert (parity.rows, parity.shapes, parity.tolerance) == (13, 3, 1e-4)


def test_parity_is_refused_when_one_logit_is_past_the_tolerance():
    def candidate(batch):
        answer = linear()(batch)
        answer[-1, -1] += len(answer) == 8
        return answer

    with pytest.raises(ParityError, match=r"by 1 in a logit \(x \[8, 2\]\).*tolerance=0.0001"):
        check_parity(linear(), candidate, BATCHES, tolerance=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("whose", ["reference", "candidate", "both"])
def test_parity_is_refused_when_an_answer_is_not_finite(bad, whose):
    reference = linear(bad if whose != "candidate" else 0.0)
    candidate = linear(bad if whose != "reference" else 0.0)
    with pytest.raises(ParityError, match="NaN or infinity"):
        check_parity(reference, candidate, BATCHES, tolerance=1e-4)


def test_parity_is_refused_when_shapes_differ():
    with pytest.raises(ParityError, match="shapes differ"):
        check_parity(linear(), lambda batch: batch["x"][:, :1], BATCHES, tolerance=1e-4)


def test_parity_is_refused_when_nothing_was_compared():
    with pytest.raises(ParityError, match="nothing to compare"):
        check_parity(linear(), linear(), [], tolerance=1e-4)


def test_invariance_holds_when_company_changes_nothing(image_rows, image_preprocessor):
    def candidate(batch):
        return batch["image"].reshape(len(batch["image"]), -1)[:, :3].astype(np.float32)

    found = measure_invariance(candidate, image_rows, image_preprocessor)
    assert (found.samples, found.max_abs_diff, found.flips, found.company) == (5, 0.0, 0, 5)
    assert found.holds


def test_invariance_fails_when_an_answer_depends_on_the_batch(image_rows, image_preprocessor):
    def candidate(batch):  # as dynamic quantization: one scale for the whole batch
        size = len(batch["image"])
        return np.tile(np.array([0.5, size - 1.0], np.float32), (size, 1))

    found = measure_invariance(candidate, image_rows, image_preprocessor, company=3)
    assert (found.flips, found.company) == (5, 3)
    assert found.max_abs_diff == 2.0
    assert not found.holds


@pytest.mark.parametrize(("rows", "company"), [(5, 1), (5, 2), (5, 4), (1, 32)])
def test_no_row_is_without_company(rows, company, image_rows, image_preprocessor):
    """Whatever was asked for, and also where rows do not fill the last batch."""
    sizes = []

    def candidate(batch):
        sizes.append(len(batch["image"]))
        return batch["image"].reshape(len(batch["image"]), -1)[:, :3].astype(np.float32)

    found = measure_invariance(candidate, image_rows[:rows], image_preprocessor, company=company)
    assert (found.samples, found.flips, found.company) == (rows, 0, max(2, min(company, rows)))
    assert set(sizes) == {1, found.company}
    assert sizes.count(1) == rows
