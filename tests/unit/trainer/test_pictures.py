from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from trainer.metrics.calibration import calibration_of
from trainer.metrics.metric import Metric, read_metrics, series
from trainer.metrics.metrics_file import MetricsFile
from trainer.metrics.predictions import Predictions
from trainer.pictures.calibration import draw_calibration
from trainer.pictures.confusion_matrix import draw_confusion_matrix
from trainer.pictures.figure import BLUE, GREEN, INK, ORANGE, as_svg, save_png
from trainer.pictures.learning_curves import draw_learning_curves
from trainer.pictures.throughput import draw_throughput

ROWS = [
    *(Metric(step, "train/loss", 1 / step) for step in range(10, 110, 10)),
    *(Metric(step, "train/accuracy", step / 110) for step in range(10, 110, 10)),
    Metric(100, "val/loss", 0.2),
    Metric(100, "val/accuracy", 0.9),
]


def _coloured(path) -> int:
    """Pixels that are neither black, white nor grey."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    return int(((pixels.max(axis=1) - pixels.min(axis=1)) > 60).sum())


def _texts(svg: str) -> list[str]:
    return [
        "".join(element.itertext())
        for element in ET.fromstring(svg).iter()
        if element.tag.endswith("}text")
    ]


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 60).astype(np.int32)
    predicted = np.where(rng.random(60) < 0.8, label, 0).astype(np.int32)
    return Predictions(
        index=np.arange(60),
        label=label,
        predicted=predicted,
        confidence=rng.uniform(0.34, 1, 60).astype(np.float32),
        squared_error=rng.uniform(0, 1, 60).astype(np.float32),
        labels=("a", "b", "c"),
    )


def test_metrics_file_keeps_every_value(tmp_path):
    file = MetricsFile(tmp_path / "metrics.csv")
    file.log_metrics({"val/loss": 0.2}, step=100)
    file.log_metrics({"odd": 0.1 + 0.2}, step=7)
    rows = read_metrics(file.path)
    file.close()
    assert rows == file.rows == [(100, "val/loss", 0.2), (7, "odd", 0.1 + 0.2)]
    assert series(rows, "val/loss") == ([100], [0.2])


def test_learning_curves_show_lines(tmp_path):
    path = save_png(draw_learning_curves(ROWS), tmp_path / "pictures" / "curves.png")
    assert _coloured(path) > 500


def test_throughput_starts_at_zero_and_shows_percent(tmp_path):
    rows = [Metric(step, "time/data_share", 0.25) for step in (10, 20)]
    figure = draw_throughput(rows)
    axes = figure.axes[2]
    assert axes.get_ylim()[0] == 0
    assert axes.lines[0].get_ydata().tolist() == [25.0, 25.0]


@pytest.mark.parametrize("classes", [2, 70])
def test_confusion_matrix_shows_its_counts(tmp_path, classes):
    counts = np.eye(classes, dtype=np.int64) * 7
    names = [f"class {i} with a long name" for i in range(classes)]
    right = save_png(draw_confusion_matrix(counts, names), tmp_path / "a.png")
    wrong = save_png(draw_confusion_matrix(counts[::-1], names), tmp_path / "b.png")
    assert right.read_bytes() != wrong.read_bytes()
    assert _coloured(right) > 100


def test_confusion_matrix_is_drawn_when_a_class_has_no_samples(tmp_path):
    figure = draw_confusion_matrix(np.array([[3, 1], [0, 0]]), ["a", "b"])
    assert save_png(figure, tmp_path / "a.png").is_file()


def test_calibration_shows_every_bin_that_has_samples(predictions):
    calibration = calibration_of(predictions)
    first, second = draw_calibration(calibration).axes
    filled = [b for b in calibration.bins if b.samples]
    assert [bar.get_height() for bar in first.patches] == [b.accuracy for b in filled]
    assert [bar.get_height() for bar in second.patches] == [b.samples for b in filled]


@pytest.mark.parametrize(
    "label", ["<script>alert(1)</script>", "$x^{$", "a & b", 'say "x"', "猫", "a\x00\nb", "x" * 80]
)
def test_svg_holds_any_label_as_text(label, tmp_path):
    figure = draw_confusion_matrix(np.array([[3, 1], [0, 4]]), [label, "other"])
    save_png(figure, tmp_path / "a.png")
    svg = as_svg(figure, name="matrix", alt=f"about {label}")
    assert "<script" not in svg
    shown = [text for text in _texts(svg) if text in {label, f"{label[:19]}…", "a��b"}]
    assert len(shown) == 2  # once on each axis


def test_svg_keeps_to_itself_when_others_are_on_the_page(predictions):
    figure = draw_calibration(calibration_of(predictions))
    one, other = as_svg(figure, name="one", alt="x"), as_svg(figure, name="other", alt="x")
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', one))
    assert used == ids[0]
    assert "<style" not in one


def test_svg_takes_every_colour_from_the_page(predictions):
    for figure in (draw_learning_curves(ROWS), draw_calibration(calibration_of(predictions))):
        svg = as_svg(figure, name="x", alt="x")
        for colour in (BLUE, ORANGE, GREEN, INK):
            assert colour not in svg
        assert "var(--chart-blue)" in svg
        assert not re.findall(r"(?:fill|stroke): #(?!f{6}|0{6})\w+", svg)


def test_curves_of_a_long_run_stay_small():
    rows = [Metric(n, "train/loss", 1 + (n * 7919 % 101) / 100) for n in range(100_000)]
    assert len(as_svg(draw_learning_curves(rows), name="x", alt="x")) < 1_000_000
