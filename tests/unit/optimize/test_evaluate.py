from __future__ import annotations

import numpy as np
import pytest

from optimize.errors import OptimizeError
from optimize.evaluate import evaluate


def test_evaluation_answers_every_sample_in_order(image_preprocessor):
    samples = [np.full((8, 8), value, np.uint8) for value in (3, 1, 2, 0, 3)]
    sizes = []

    def brightness(batch):
        sizes.append(len(batch["image"]))
        return np.eye(4, dtype=np.float32)[batch["image"][:, 0, 0, 0]]

    heard = []
    found = evaluate(
        {"a": brightness, "b": lambda batch: np.roll(brightness(batch), 1, axis=1)},
        samples,
        np.array([3, 1, 2, 0, 0]),
        image_preprocessor,
        batch_size=2,
        advance=heard.append,
    )
    assert heard == [2, 2, 1]
    assert sizes == [2, 2, 2, 2, 1, 1]
    assert found.logits["a"].argmax(axis=1).tolist() == [3, 1, 2, 0, 3]
    assert found.accuracy("a") == pytest.approx(0.8)
    assert found.accuracy("b") == pytest.approx(0.2)
    assert found.agreement("a", "a") == 1.0
    assert found.agreement("a", "b") == 0.0


def test_evaluation_names_the_sample_that_cannot_be_read(image_preprocessor):
    samples = [np.zeros((8, 8), np.uint8), b"no picture"]
    with pytest.raises(OptimizeError, match="held-out sample 1 cannot be used: image is of no"):
        evaluate({}, samples, np.array([0, 1]), image_preprocessor, batch_size=2)
