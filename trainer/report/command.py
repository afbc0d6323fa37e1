"""What `python -m trainer.report` does: find the run, write the page, say where it is."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.report.leave import write_report
from trainer.report.place import PAGE, found


def main(arguments: list[str] | None = None) -> None:
    """Write the report that `arguments` (default: `sys.argv`) ask for.

    Raises NotFoundError or ConfigError for a wrong RUN, TrainerError if the page cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="python -m trainer.report",
        description="Write one self-contained HTML page about a run.",
    )
    parser.add_argument(
        "run", metavar="RUN", help="a run folder, `latest`, or the id of a run in MLflow"
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help=f"where the page goes (default: RUN/{PAGE}; {PAGE.replace('.', '-ID.')} in the"
        " working directory for a run that only MLflow has)",
    )
    asked = parser.parse_args(arguments)
    with found(asked.run) as place:
        print(write_report(place.folder, asked.output or place.page))
