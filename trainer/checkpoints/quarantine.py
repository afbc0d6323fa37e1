"""Quarantine: damaged checkpoints are moved to `checkpoints/quarantine/`, never deleted."""

from __future__ import annotations

import logging
from os.path import lexists
from typing import TYPE_CHECKING

from trainer.checkpoints.sidecar import sidecar_path
from trainer.events import record

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.errors import CheckpointError

log = logging.getLogger(__name__)
QUARANTINE = "quarantine"


def quarantine(folder: Path, path: Path, error: CheckpointError) -> None:
    """Move a checkpoint of the run in `folder` away, with its description, and say why."""
    place = path.parent / QUARANTINE
    place.mkdir(exist_ok=True)
    number = 0
    # A link to nowhere is in the way, too.
    while any(lexists(place / f"{number:03d}-{p.name}") for p in (path, sidecar_path(path))):
        number += 1
    for part in (path, sidecar_path(path)):
        if lexists(part):
            part.rename(place / f"{number:03d}-{part.name}")
    log.warning("%s; moved to %s", error, place)
    record(folder, "quarantine", checkpoint=path.name, reason=str(error))
