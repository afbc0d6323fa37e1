"""The page: sections in their order, set into HTML with everything inside."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from trainer.report.blocks import Facts, Gap, Section
from trainer.report.history import history_section
from trainer.report.origin import (
    checkpoints_section,
    config_section,
    environment_section,
    lineage_section,
)
from trainer.report.outcome import outcome_section, status_of, tiles
from trainer.report.recorded import METRICS
from trainer.report.scores import classes_section, no_test, scores_section
from trainer.report.speed import speed_section
from trainer.report.text import moment, number, percent

if TYPE_CHECKING:
    from trainer.metrics.calibration import Calibration
    from trainer.report.charts import Picture
    from trainer.report.recorded import Recorded

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""What HTML does not allow, all but line breaks and tabs."""


def page_of(run: Recorded, calibration: Calibration | None, drawn: dict[str, Picture]) -> str:
    """The whole page as text; it refers to nothing outside itself."""
    environment = Environment(
        loader=PackageLoader("trainer.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    word, tone = status_of(run)
    text = environment.get_template("page.html").render(
        name=str(run.summary.get("name") or run.config.get("name") or run.folder.absolute().name),
        status=word,
        tone=tone,
        made=moment(datetime.now(UTC).isoformat()),
        tiles=tiles(run, calibration),
        sections=_sections(run, calibration, drawn),
    )
    return _UNPRINTABLE.sub("\ufffd", text)


def _sections(
    run: Recorded, calibration: Calibration | None, drawn: dict[str, Picture]
) -> list[Section]:
    chart = drawn["throughput"].chart() if "throughput" in drawn else None
    return [
        outcome_section(run),
        scores_section(run),
        _curves(run, drawn),
        _matrix(run, drawn),
        classes_section(run),
        _calibration(run, calibration, drawn),
        speed_section(run, chart),
        history_section(run),
        checkpoints_section(run),
        lineage_section(run),
        environment_section(run),
        config_section(run),
    ]


def _curves(run: Recorded, drawn: dict[str, Picture]) -> Section:
    if "learning_curves" in drawn:
        block = drawn["learning_curves"].chart()
        return Section(id="curves", title="Learning curves", blocks=(block,))
    why = run.missing.get(METRICS, f"{METRICS} has none of the metrics to draw")
    gap = Gap(text=f"There are no curves to draw: {why}.")
    return Section(id="curves", title="Learning curves", blocks=(gap,))


def _matrix(run: Recorded, drawn: dict[str, Picture]) -> Section:
    block = (
        drawn["confusion_matrix"].chart() if "confusion_matrix" in drawn else Gap(text=no_test(run))
    )
    return Section(id="confusion", title="Confusion matrix", blocks=(block,))


def _calibration(
    run: Recorded, calibration: Calibration | None, drawn: dict[str, Picture]
) -> Section:
    if calibration is None:
        gap = Gap(text=no_test(run))
        return Section(id="calibration", title="Calibration", blocks=(gap,))
    width = len(calibration.bins)
    facts = Facts(
        rows=(
            (
                "Expected calibration error",
                f"{calibration.error:.4f} ({width} equally wide bins; few samples make it larger)",
            ),
            ("Brier score", f"{number(calibration.brier)} (0 is best, 2 is worst)"),
            ("Mean confidence", percent(calibration.confidence)),
            ("Accuracy", percent(calibration.accuracy)),
            ("Samples (n)", str(calibration.samples)),
        )
    )
    blocks = (drawn["calibration"].chart(), facts)
    return Section(id="calibration", title="Calibration", blocks=blocks)
