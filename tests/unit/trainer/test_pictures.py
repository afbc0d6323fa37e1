from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from trainer.metrics_file import MetricsFile, read_metrics
from trainer.pictures import draw_confusion_matrix, draw_learning_curves


def _pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def metrics(tmp_path):
    file = MetricsFile(tmp_path / "metrics.csv")
    for step in range(10, 110, 10):
        file.log_metrics(
            {"train/loss": 1 / step, "train/accuracy": step / 110, "lr": 0.1}, step=step
        )
    file.log_metrics({"val/loss": 0.2, "val/accuracy": 0.9}, step=100)
    yield file
    file.close()


def test_metrics_file_keeps_every_value(metrics):
    metrics.log_metrics({"odd": 0.1 + 0.2}, step=7)
    rows = read_metrics(metrics.path)
    assert rows == metrics.rows
    assert rows[-1] == (7, "odd", 0.1 + 0.2)
    assert metrics.series("val/loss") == ([100], [0.2])


def test_learning_curves_show_lines(metrics, tmp_path):
    path = draw_learning_curves(metrics, tmp_path / "pictures" / "curves.png", title="a run")
    pixels = _pixels(path)
    colours = pixels.reshape(-1, 3)
    coloured = (colours.max(axis=1).astype(int) - colours.min(axis=1)) > 60
    assert pixels.shape[1] > 1000
    assert coloured.sum() > 500


def test_learning_curves_are_drawn_when_nothing_was_recorded(tmp_path):
    empty = MetricsFile(tmp_path / "metrics.csv")
    assert draw_learning_curves(empty, tmp_path / "curves.png", title="nothing").is_file()
    empty.close()


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_confusion_matrix_shows_its_counts(tmp_path, classes):
    counts = np.eye(classes, dtype=np.int64) * 7
    path = draw_confusion_matrix(
        counts,
        [f"class {i} with a long name" for i in range(classes)],
        tmp_path / "a.png",
        title="t",
    )
    right = _pixels(path)
    wrong = _pixels(
        draw_confusion_matrix(
            counts[::-1],
            [f"class {i} with a long name" for i in range(classes)],
            tmp_path / "b.png",
            title="t",
        )
    )
    assert right.shape == wrong.shape
    assert (right != wrong).any()
    dark_blue = (right[..., 2].astype(int) - right[..., 0]) > 60
    assert dark_blue.sum() > 100


def test_confusion_matrix_is_drawn_when_a_class_has_no_samples(tmp_path):
    counts = np.array([[3, 1], [0, 0]])
    assert draw_confusion_matrix(counts, ["a", "b"], tmp_path / "a.png", title="t").is_file()
