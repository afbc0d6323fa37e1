from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, confusion_matrix

from trainer.data.sampler import EvalSampler
from trainer.data.samples import NO_SAMPLE, UNREADABLE
from trainer.errors import DataError
from trainer.metrics.answers import Answers, _interleave
from trainer.metrics.calibration import calibration_of, wilson_interval
from trainer.metrics.predictions import Predictions, read_predictions


def _predictions(confidence, right, squared_error=None):
    count = len(confidence)
    return Predictions(
        index=np.arange(count),
        label=np.zeros(count, np.int32),
        predicted=np.where(right, 0, 1).astype(np.int32),
        confidence=np.asarray(confidence, np.float32),
        squared_error=np.asarray(squared_error or np.zeros(count), np.float32),
        labels=("a", "b"),
    )


def test_calibration_error_is_that_of_a_worked_example():
    # Two bins: 0.75 sure and half right, 0.95 sure and all right.
    found = calibration_of(_predictions([0.75] * 4 + [0.95] * 4, [1, 1, 0, 0, 1, 1, 1, 1]), bins=10)
    assert found.error == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)
    assert [b.samples for b in found.bins] == [0] * 7 + [4, 0, 4]
    assert found.accuracy == 0.75


def test_calibration_error_is_nothing_when_sure_and_right():
    found = calibration_of(_predictions([1.0] * 5, [True] * 5))
    assert found.error == 0
    assert found.bins[-1].samples == 5


def test_calibration_needs_a_sample():
    with pytest.raises(ValueError, match="at least one"):
        calibration_of(_predictions([], []))


@given(st.integers(1, 30), st.data())
def test_every_sample_is_in_one_bin(count, data):
    floats = st.floats(0, 1, width=32)
    confidence = data.draw(st.lists(floats, min_size=count, max_size=count))
    found = calibration_of(_predictions(confidence, [True] * count))
    assert sum(b.samples for b in found.bins) == count
    assert 0 <= found.error <= 1


@given(st.integers(0, 300), st.integers(1, 300))
def test_interval_holds_the_share(right, more):
    samples = right + more
    low, high = wilson_interval(right / samples, samples)
    assert 0 <= low <= right / samples <= high <= 1


def test_answers_are_what_scikit_learn_computes():
    torch.manual_seed(0)
    logits, labels = torch.randn(200, 4), torch.randint(0, 4, (200,))
    answers = Answers()
    for part in range(0, 200, 64):
        answers.add(logits[part : part + 64], labels[part : part + 64])
    answers.gather()
    found = answers.predictions(labels="abcd", indices=np.arange(1000, 1200))
    probabilities = logits.double().softmax(dim=1).numpy()
    expected = brier_score_loss(labels.numpy(), probabilities, labels=range(4), scale_by_half=False)
    assert calibration_of(found).brier == pytest.approx(expected, abs=1e-6)
    assert found.confidence == pytest.approx(probabilities.max(axis=1), abs=1e-6)
    assert (found.confusion() == confusion_matrix(labels, probabilities.argmax(axis=1))).all()
    assert found.index.tolist() == list(range(1000, 1200))


def test_answers_start_anew_and_are_none_before_a_test():
    answers = Answers()
    assert answers.predictions(labels="ab", indices=np.arange(3)) is None
    answers.add(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))
    answers.gather()
    answers.add(torch.zeros(2, 2), torch.zeros(2, dtype=torch.long))
    answers.gather()
    assert len(answers.predictions(labels="ab", indices=np.arange(9))) == 2


def test_answers_leave_out_what_cannot_be_read_and_keep_the_others_positions():
    answers = Answers()
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    answers.add(logits, torch.tensor([0, UNREADABLE, 1]))
    answers.add(logits[:1], torch.tensor([UNREADABLE]))
    answers.gather()
    found = answers.predictions(labels="ab", indices=np.array([10, 20, 30, 40, 50]))
    assert found.index.tolist() == [10, 30]
    assert found.label.tolist() == [0, 1]
    assert found.predicted.tolist() == [0, 1]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 5))
def test_shares_of_processes_become_the_batches_again(size, batch_size, world_size):
    samplers = [
        EvalSampler(size, batch_size=batch_size, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    counted = [[b.indices if b.counts else b.indices[:0] for b in sampler] for sampler in samplers]
    shares = [
        [np.repeat(indices[:, None], 4, axis=1).astype(np.float32) for indices in part]
        for part in counted
    ]
    whole = [
        _interleave([share[number] for share in shares if number < len(share)])
        for number in range(max(map(len, shares)))
    ]
    assert np.concatenate(whole)[:, 0].tolist() == list(range(size))


def test_predictions_round_trip(tmp_path):
    one = _predictions([0.5, 0.9], [True, False], [0.25, 1.5])
    one.write(tmp_path / "p.npz")
    other = read_predictions(tmp_path / "p.npz")
    for name in ("index", "label", "predicted", "confidence", "squared_error"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()
    assert other.labels == ("a", "b")


@pytest.mark.parametrize(
    "spoil", ["missing", "empty", "text", "half", "foreign", "class", "pickle"]
)
def test_predictions_are_refused_when_the_file_is_wrong(spoil, tmp_path):
    path = tmp_path / "p.npz"
    good = _predictions([0.5, 0.9], [True, False])
    good.write(path)
    if spoil == "missing":
        path.unlink()
    elif spoil in {"empty", "text"}:
        path.write_bytes(b"" if spoil == "empty" else b"hello")
    elif spoil == "half":
        path.write_bytes(path.read_bytes()[:300])
    elif spoil == "foreign":
        np.savez(path, a=np.zeros(3))
    elif spoil == "class":
        np.savez(path, **{**vars(good), "label": np.array([0, 7], np.int32)})
    else:
        np.savez(path, **{**vars(good), "labels": np.array([{"a": 1}], object)})
    with pytest.raises(DataError):
        read_predictions(path)


def test_a_sample_that_only_fills_a_batch_is_no_answer():
    answers = Answers()
    answers.add(torch.tensor([[2.0, 0.0]]), torch.tensor([NO_SAMPLE]))
    answers.add(torch.tensor([[2.0, 0.0]]), torch.tensor([1]))
    answers.gather()
    found = answers.predictions(labels=("a", "b"), indices=np.array([7]))
    assert found.index.tolist() == [7]
    assert found.label.tolist() == [1]
