"""Metrics and what the test says of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainer.metrics.predictions import FILE as PREDICTIONS
from trainer.report.blocks import Gap, Note, Section, Table
from trainer.report.recorded import METRICS
from trainer.report.text import NONE, number, share
from trainer.run_folder import FINISHED

if TYPE_CHECKING:
    from trainer.metrics.predictions import Predictions
    from trainer.report.recorded import Recorded

_SPLITS = ("train", "val", "test")
_NAMES = {"accuracy": "Accuracy", "f1": "F1, mean over classes", "loss": "Cross entropy"}
_MOST_CONFUSIONS = 8


def scores_section(run: Recorded) -> Section:
    """Each quantity over the splits."""
    metrics = run.summary.get("metrics")
    final = {
        str(name): value
        for name, value in (metrics.items() if isinstance(metrics, dict) else ())
        if isinstance(value, int | float)
    }
    last = {row.name: row.value for row in run.metrics}
    quantities = sorted(
        {
            name.partition("/")[2]
            for name in (*final, *last)
            if name.partition("/")[0] in _SPLITS and "/" in name
        }
    )
    if not quantities:
        why = run.missing.get(METRICS, f"{METRICS} has none")
        gap = Gap(text=f"There are no metrics: {why}. They come with the first recorded step.")
        return Section(id="metrics", title="Metrics", blocks=(gap,))
    rows = tuple(
        (
            _NAMES.get(name, name),
            number(last.get(f"train/{name}", NONE)),
            number(last.get(f"val/{name}", NONE)),
            number(final.get(f"val/{name}", NONE)),
            number(final.get(f"test/{name}", NONE)),
        )
        for name in quantities
    )
    table = Table(
        caption="Training: the last window of steps. Validation: the last pass, and the best"
        " checkpoint, which is the one that was tested.",
        head=("Metric", "Training, last", "Validation, last", "Validation, best", "Test"),
        rows=rows,
    )
    return Section(id="metrics", title="Metrics", blocks=(table,))


def classes_section(run: Recorded) -> Section:
    """Precision, recall and F1 of each class, and who is taken for whom."""
    predictions = run.predictions
    if predictions is None or not len(predictions):
        return Section(id="classes", title="Classes", blocks=(Gap(text=no_test(run)),))
    counts = predictions.confusion()
    precision, recall, f1 = _rates(counts)
    support = counts.sum(axis=1)
    rows = tuple(
        (label, share(precision[i]), share(recall[i]), share(f1[i]), str(support[i]))
        for i, label in enumerate(predictions.labels)
    )
    seen = (support > 0) | (counts.sum(axis=0) > 0)
    mean = (
        "Mean over classes",
        *(share(float(np.nan_to_num(values[seen]).mean())) for values in (precision, recall, f1)),
        str(support.sum()),
    )
    table = Table(
        caption=f"Test split, {len(predictions)} samples. {NONE}: never predicted, or no samples;"
        " counts as 0 in the mean.",
        head=("Class", "Precision", "Recall", "F1", "Samples"),
        rows=rows,
        foot=(mean,),
    )
    return Section(id="classes", title="Classes", blocks=(table, *_confusions(counts, predictions)))


def no_test(run: Recorded) -> str:
    """Why there are no predictions."""
    why = run.missing.get(PREDICTIONS, f"{PREDICTIONS} is empty")
    if "cannot be read" in why:
        return f"The test's answers are lost: {why}."
    if run.status == FINISHED:
        return (
            f"The test's answers are not known: {why}. The run has no test split, or was made"
            " before this file was written."
        )
    return f"There was no test yet: {why}. The best checkpoint is tested when training ends."


def worst_confusions(
    counts: np.ndarray[tuple[int, int], np.dtype[np.int64]],
) -> list[tuple[int, int, int]]:
    """(true class, predicted class, samples) of the most frequent mistakes."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    size = counts.shape[1]
    return [(int(p) // size, int(p) % size, int(wrong.flat[p])) for p in order if wrong.flat[p]]


def _confusions(
    counts: np.ndarray[tuple[int, int], np.dtype[np.int64]], predictions: Predictions
) -> tuple[Table | Note, ...]:
    worst = worst_confusions(counts)
    if not worst:
        return (Note(text="Not one sample was taken for another class."),)
    of_class = counts.sum(axis=1)
    table = Table(
        caption="The most frequent mistakes.",
        head=("True class", "Taken for", "Samples", "Of the class"),
        rows=tuple(
            (
                predictions.labels[true],
                predictions.labels[taken],
                str(count),
                share(count / of_class[true]),
            )
            for true, taken, count in worst
        ),
        columns="texts",
    )
    return (table,)


def _rates(
    counts: np.ndarray[tuple[int, int], np.dtype[np.int64]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 by class, (num_classes,); NaN where a denominator is 0."""
    right = np.diag(counts).astype(np.float64)
    predicted, true = counts.sum(axis=0), counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / predicted, right / true, 2 * right / (predicted + true)
