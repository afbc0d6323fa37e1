"""Leave a run's pictures and page where they belong."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bundle.atomic_file import staged
from trainer.errors import TrainerError
from trainer.metrics.calibration import calibration_of
from trainer.pictures.figure import save_png
from trainer.report.charts import pictures
from trainer.report.page import page_of
from trainer.report.place import PAGE
from trainer.report.recorded import Recorded, read_run

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.metrics.calibration import Calibration
    from trainer.report.charts import Picture

log = logging.getLogger(__name__)


def leave_report(folder: Path) -> None:
    """`pictures/*.png` and `report.html` of a run that ended, from its files.

    A run is worth more than its report: what fails here is told and does not fail the run.
    """
    try:
        run, calibration, drawn = _drawn(folder)
        for picture in drawn.values():
            save_png(picture.figure, folder / "pictures" / f"{picture.name}.png")
        _write(folder / PAGE, page_of(run, calibration, drawn))
    except Exception as error:  # noqa: BLE001 - see above
        log.warning("the report of %s could not be written (%s)", folder, error)


def write_report(folder: Path, page: Path) -> Path:
    """The page alone; where it is. Raises TrainerError if it cannot be written."""
    run, calibration, drawn = _drawn(folder)
    text = page_of(run, calibration, drawn)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        _write(page, text)
    except OSError as error:
        raise TrainerError(
            f"{page}: cannot be written ({error.strerror or error})",
            field="output",
            remedy="name another place with --output FILE",
        ) from error
    return page


def _drawn(folder: Path) -> tuple[Recorded, Calibration | None, dict[str, Picture]]:
    run = read_run(folder)
    tested = run.predictions is not None and len(run.predictions) > 0
    calibration = calibration_of(run.predictions) if run.predictions and tested else None
    return run, calibration, pictures(run, calibration)


def _write(path: Path, text: str) -> None:
    with staged(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
