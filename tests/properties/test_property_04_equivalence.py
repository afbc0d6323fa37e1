"""N processes compute what one computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.training_run import MLP, PLAIN_SGD, RESNET, THREE, TWO, TrainingRun, difference
from tests.unit.trainer.data.making import picture, write_images
from trainer.metrics.predictions import read_predictions

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
TWENTY_STEPS = (
    *PLAIN_SGD,
    "trainer.max_steps=20",
    "trainer.max_epochs=-1",
    "trainer.val_every=0.5",
)


def _pair(
    folder: Path, *overrides: str, model: tuple[str, ...] = MLP, two: tuple[str, ...] = TWO
) -> tuple[TrainingRun, TrainingRun]:
    alone = TrainingRun(folder / "one", *TWENTY_STEPS, *overrides, model=model).finish()
    together = TrainingRun(folder / "two", *TWENTY_STEPS, *overrides, *two, model=model).finish()
    return alone, together


def _same(one: TrainingRun, other: TrainingRun) -> None:
    assert difference(one.weights(), other.weights()) <= 1e-6
    for name, value in one.summary["metrics"].items():
        # Accuracy and F1 are ratios of counts: equal to the last bit, or a sample counted twice.
        tolerance = 1e-6 if name.endswith("loss") else 0.0
        assert other.summary["metrics"][name] == pytest.approx(value, abs=tolerance), name
    _answers_are_the_same(one, other)


def _answers_are_the_same(one: TrainingRun, other: TrainingRun) -> None:
    """Each test sample once, in the same order, whoever looked at it."""
    first, second = (read_predictions(run.folder / "predictions.npz") for run in (one, other))
    assert len(first) > 0
    assert len(set(first.index.tolist())) == len(first)
    for name in ("index", "label", "predicted"):
        assert getattr(first, name).tolist() == getattr(second, name).tolist(), name
    for name in ("confidence", "squared_error"):
        assert getattr(second, name) == pytest.approx(getattr(first, name), abs=1e-5), name


def test_property_04_two_processes_end_where_one_does_when_clipping_and_accumulating(
    tmp_path: Path,
) -> None:
    # 179 validation samples in batches of 50: neither divides by two.
    one, two = _pair(
        tmp_path, "trainer.accumulate=2", "trainer.gradient_clip=0.1", "data.eval_batch_size=50"
    )
    assert one.summary["steps"] == two.summary["steps"] == 20
    _same(one, two)


@pytest.mark.soak
def test_property_04_three_processes_end_where_one_does_when_nothing_divides_by_three(
    tmp_path: Path,
) -> None:
    # 179 validation samples in batches of 50: shares of 17, 17 and 16, and of 10, 10 and 9.
    one, three = _pair(tmp_path, "data.eval_batch_size=50", THREE[1], two=THREE)
    _same(one, three)


@pytest.mark.soak
def test_property_04_two_processes_end_where_one_does_when_images_cannot_be_read(
    tmp_path: Path,
) -> None:
    for start, name in ((0, "a"), (100, "b")):
        write_images(tmp_path / name, count=60, start=start)
        for path in sorted((tmp_path / name).iterdir())[::4]:
            path.write_bytes(picture(start, size=(30, 30))[:900])  # the header is whole
    # Shares of one sample where it is evaluated: with that unreadable, there is nothing.
    folder = ("data=image_folder", f"data.root={tmp_path}", "data.height=8", "data.width=8")
    skip = ("data.on_error=skip", "data.cache_bytes=0", "data.eval_batch_size=2")
    sizes = ("data.batch_size=16", "trainer.max_steps=3", "data.num_workers=1")
    runs = tmp_path.with_name(tmp_path.name + "-runs")
    one, two = _pair(runs, *folder, *skip, *sizes, model=RESNET)
    assert "cannot be used and were skipped" in two.text
    assert two.summary["metrics"]["val/loss"] > 0
    _same(one, two)


@pytest.mark.soak
def test_property_04_batch_normalisation_spans_all_processes_when_there_are_two(
    tmp_path: Path,
) -> None:
    # Few steps: rounding soon moves a ReLU's input across zero, after which any two runs part.
    one, two = _pair(tmp_path, "trainer.max_steps=3", model=RESNET)
    assert any("running_mean" in name for name in one.weights())
    assert difference(one.weights(), two.weights()) <= 1e-6


def test_property_04_sharded_processes_end_where_one_does_when_strategy_is_fsdp(
    tmp_path: Path,
) -> None:
    one, two = _pair(tmp_path, two=(*TWO, "strategy=fsdp"))
    _same(one, two)


@pytest.mark.soak
@pytest.mark.parametrize(
    "overrides", [("data.val_fraction=0.005",), ("data.eval_batch_size=1", "data.val_fraction=0.1")]
)
def test_property_04_a_process_without_validation_batches_counts_none(
    tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    one, two = _pair(tmp_path, "data.limit=300", *overrides, "trainer.max_steps=2")
    _same(one, two)
