"""Send what runs have recorded while the tracking server was away.

    python -m trainer.replay RUN_FOLDER… [--uri URI]

Each run becomes one MLflow run, with its own times, however often this is repeated. Exit code 0:
nothing waits any more; 1: the server is away, or has refused something; 2: the request was wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundle.address import tracking_uri
from bundle.command import run_command
from trainer.errors import AwayError, ConfigError, TrackingError
from trainer.run_folder import RunFolder
from trainer.tracking.journal import Journal, journals
from trainer.tracking.mlflow_run import MlflowRun
from trainer.tracking.sender import send_all

if TYPE_CHECKING:
    from collections.abc import Sequence


def replay(folder: Path, *, uri: str | None = None) -> list[dict[str, Any]]:
    """Send all that waits in a run folder; what was sent of each of its runs.

    `uri`: else the one in the run's config, else the environment's. Raises ConfigError if there
    is nothing to send from, or the run is still going on, and AwayError if the server is away.
    """
    if not folder.is_dir() or not journals(folder):
        raise ConfigError(
            f"{folder}: there are no records here", remedy="name the folder of a run (outputs/…)"
        )
    files = RunFolder(folder)
    config = files.earlier_config().get("tracking", {})
    target = tracking_uri(uri or config.get("uri"))
    found = []
    with files.claimed():
        for path in journals(folder):
            journal = Journal(path)
            try:
                found.append(_replay(journal, target, files))
            finally:
                journal.close()
    return found


def _replay(journal: Journal, uri: str, files: RunFolder) -> dict[str, Any]:
    refusals: list[TrackingError] = []
    sent = 0
    if not journal.header:
        refusals.append(TrackingError("its first line is missing or damaged: whose run was it?"))
    elif journal.is_pending:
        run = MlflowRun(uri, journal)
        run.open()
        _note_run_id(files, journal)  # first: the summary is among the files to send
        sent = send_all(journal, run, refused=refusals.append) - len(refusals)
    return {
        "journal": journal.path.name,
        "run_id": journal.run_id,
        "sent": sent,
        "refused": [str(error) for error in refusals],
    }


def _note_run_id(files: RunFolder, journal: Journal) -> None:
    """Until the server made the run, its summary could only have the run's own name."""
    if journal.header and journal.run_id and files.earlier.get("run_id") == journal.key:
        files.summary = dict(files.earlier)
        files.summarize(run_id=journal.run_id)


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay every folder; a line for each of its runs on stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.replay", description="Send the records of runs to MLflow."
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--uri", help="the server; else that of the run's config")
    asked = parser.parse_args(arguments)
    code = 0
    for folder in asked.folders:
        try:
            found = replay(folder, uri=asked.uri)
        except AwayError as error:
            raise AwayError(
                f"{folder}: {error}", field="tracking.uri", remedy="start it, and try again"
            ) from error
        for run in found:
            print(f"{folder / run['journal']}: run {run['run_id']}, {run['sent']} records sent")
            for reason in run["refused"]:
                print(f"  refused: {reason}")
                code = 1
    return code


if __name__ == "__main__":
    run_command(main)
