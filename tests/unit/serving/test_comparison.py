"""Comparing two versions' answers: of labels, of tensors, in the order of the request."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest

from bundle.errors import EngineError
from bundle.manifest import TensorSpec
from serving.awaited import Answer
from serving.routing.comparison import PROBABILITIES, compare, in_order
from serving.served_model import Part
from tests.tiny_bundle import image_parts

LABELLED = image_parts().manifest
"""Its labels are cat, dog and owl."""
PLAIN = replace(
    LABELLED,
    task="tensor",
    labels=(),
    outputs=(TensorSpec(name="y", dtype="float32", shape=(-1, 2)),),
)


def logits(*rows: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Of these probabilities."""
    return {"logits": np.array([[log(p) for p in row] for row in rows], np.float32)}


def test_probabilities_are_compared_by_their_total_variation():
    ours = logits((0.5, 0.25, 0.25), (0.2, 0.7, 0.1))
    theirs = logits((0.25, 0.5, 0.25), (0.1, 0.8, 0.1))
    found = compare(LABELLED, ours, LABELLED, theirs)
    assert (found.agreeing, found.disagreeing) == (1, 1)
    assert found.divergences[PROBABILITIES] == pytest.approx([0.25, 0.1], abs=1e-6)


def test_labels_are_the_same_by_name_in_whatever_order():
    other = replace(LABELLED, labels=("owl", "cat", "bat"))
    ours, theirs = logits((0.6, 0.1, 0.3)), logits((0.3, 0.6, 0.1))
    found = compare(LABELLED, ours, other, theirs)
    assert (found.agreeing, found.disagreeing) == (1, 0)
    assert found.divergences[PROBABILITIES] == pytest.approx([0.1], abs=1e-6)


def test_tensors_are_compared_by_their_largest_difference():
    ours = {"y": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)}
    theirs = {"y": np.array([[1.0, 2.5], [3.0, 4.0]], np.float32)}
    found = compare(PLAIN, ours, PLAIN, theirs)
    assert (found.agreeing, found.divergences) == (None, {"y": [0.5, 0.0]})
    assert compare(PLAIN, ours, PLAIN, {"y": theirs["y"][:, :1]}).divergences == {}
    words = {"y": np.array([["a", "b"]], object)}
    assert compare(PLAIN, words, PLAIN, {"y": np.array([["a", "c"]], object)}).divergences == {
        "y": [1.0]
    }


def test_large_unsigned_integers_do_not_wrap():
    ours, theirs = {"y": np.array([[0]], np.uint8)}, {"y": np.array([[255]], np.uint8)}
    assert compare(PLAIN, ours, PLAIN, theirs).divergences == {"y": [255.0]}


def test_what_is_not_finite_is_no_answer():
    ours, theirs = {"y": np.zeros((1, 2))}, {"y": np.array([[0.0, np.nan]])}
    with pytest.raises(EngineError, match="NaN"):
        compare(PLAIN, ours, PLAIN, theirs)


def test_samples_come_in_the_order_of_the_request():
    parts = [Part({}, (2, 0), "x"), Part({}, (1,), "x")]
    answers = [Answer({"y": np.array([20, 0])}, 0, 0), Answer({"y": np.array([10])}, 0, 0)]
    assert in_order(parts, answers)["y"].tolist() == [0, 10, 20]
