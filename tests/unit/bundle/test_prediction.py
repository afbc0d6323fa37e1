from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bundle.bare import open_bare
from bundle.errors import EngineError
from bundle.prediction import Prediction, classify, softmax, to_predictions
from tests.tiny_bundle import image_parts, tensor_model

LABELS = ("a", "b", "c")
MANIFEST = image_parts().manifest
LOGITS = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.just(3)),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@given(LOGITS)
def test_probabilities_sum_to_one_whatever_the_logits(logits):
    for row, prediction in zip(logits, classify(LABELS, logits), strict=True):
        values = list(prediction.probabilities.values())
        assert sum(values) == pytest.approx(1, abs=1e-12)
        assert min(values) >= 0
        assert prediction.index == int(np.argmax(row))
        assert prediction.probabilities[prediction.label] == max(values)


@pytest.mark.parametrize(
    ("logits", "index"), [([1, 1, 1], 0), ([0, 2, 2], 1), ([-np.inf, 0, 0], 1), ([3, -1, 3], 0)]
)
def test_first_of_equals_wins(logits, index):
    (prediction,) = classify(LABELS, np.array([logits], np.float32))

    assert prediction.index == index
    assert prediction.label == LABELS[index]


def test_softmax_is_that_of_float64():
    logits = np.array([[1000, 999, 0]], np.float32)

    expected = np.exp([0.0, -1.0, -1000.0])
    np.testing.assert_array_equal(softmax(logits), [expected / expected.sum()])


def test_labelled_model_gives_predictions_in_json():
    outputs = {"logits": np.array([[0, 5, 0], [1, 0, 0]], np.float32)}

    first, second = json.loads(json.dumps(to_predictions(MANIFEST, outputs)))

    assert first["prediction"]["label"] == "dog"
    assert first["prediction"]["index"] == 1
    assert list(first["prediction"]["probabilities"]) == ["cat", "dog", "owl"]
    assert second["prediction"]["label"] == "cat"


def test_model_without_labels_gives_its_outputs(tmp_path):
    (tmp_path / "m.onnx").write_bytes(tensor_model())
    manifest = open_bare(tmp_path / "m.onnx").manifest

    found = to_predictions(manifest, {"y": np.array([[1, 2], [3, 4]], np.float32)})

    assert found == [{"outputs": {"y": [1.0, 2.0]}}, {"outputs": {"y": [3.0, 4.0]}}]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_answer_that_is_not_finite_is_an_error_of_the_model(value):
    outputs = {"logits": np.array([[0, value, 0]], np.float32)}

    with pytest.raises(EngineError, match="output 'logits' has NaN or infinite") as found:
        to_predictions(MANIFEST, outputs)

    assert found.value.field == "logits"


@pytest.mark.parametrize("shape", [(1, 2), (3,), (1, 3, 1)])
def test_logits_of_another_shape_are_an_error_of_the_model(shape):
    with pytest.raises(EngineError, match=r"expected \(batch, 3\)"):
        classify(LABELS, np.zeros(shape, np.float32))


def test_prediction_becomes_a_plain_dict():
    prediction = Prediction(label="a", index=0, probabilities={"a": 1.0})

    assert prediction.to_dict() == {"label": "a", "index": 0, "probabilities": {"a": 1.0}}


def test_dict_of_a_prediction_shares_no_probabilities_with_it():
    prediction = Prediction(label="a", index=0, probabilities={"a": 1.0})

    prediction.to_dict()["probabilities"]["a"] = 0.0

    assert prediction.probabilities == {"a": 1.0}
