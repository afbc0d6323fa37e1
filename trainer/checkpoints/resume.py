"""Where a run begins: at the newest checkpoint of its folder that is whole, or at zero.

A folder in which every checkpoint is damaged is not taken for a new one. What a run leaves behind
by starting elsewhere is set aside, never deleted.
"""

from __future__ import annotations

import logging
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trainer.checkpoints.checkpoint import read_description, verify_checkpoint
from trainer.checkpoints.download import fetch_checkpoint, is_url
from trainer.checkpoints.quarantine import QUARANTINE, quarantine
from trainer.checkpoints.sharded import MANIFEST
from trainer.checkpoints.sidecar import SUFFIX, is_pending, sidecar_path
from trainer.errors import CheckpointError, ConfigError, Stopped, TrainerError
from trainer.events import record

if TYPE_CHECKING:
    from trainer.parallel.group import Group
    from trainer.run_folder import RunFolder

log = logging.getLogger(__name__)
AUTO = "auto"
NEVER = "never"
CHECKPOINTS = "checkpoints"
DOWNLOADS = "downloads"
WRITTEN = ".checkpoints_written"
"""In a run's folder: there is a checkpoint, or has been one."""
_PATTERN = "*.ckpt"
_PREFERRED = ("last.ckpt",)


class _Candidate(NamedTuple):
    """What the folder says it has; nothing of it is verified."""

    path: Path
    step: float
    created: str


def choose_checkpoint(folder: Path, resume: str) -> Path | None:
    """The checkpoint that the run in `folder` goes on from; None: it starts from zero.

    `auto`: the newest one in `folder/checkpoints` that verifies. `never`: none; those that lie
    there are set aside. Else a path or a URL, which is taken as it is or refused.

    Writes to the folder, so only one process of a run may call it. Raises CheckpointError if all
    checkpoints of the folder are damaged or gone, or the named one is.
    """
    checkpoints = folder / CHECKPOINTS
    if resume == AUTO:
        return _newest(folder, checkpoints)
    if resume == NEVER:
        (folder / WRITTEN).unlink(missing_ok=True)
        if checkpoints.is_dir():
            _set_aside(folder, checkpoints, list(checkpoints.iterdir()))
        return None
    check_resume(resume)
    path = fetch_checkpoint(resume, folder / DOWNLOADS) if is_url(resume) else Path(resume)
    verify_checkpoint(path)
    return path


def check_resume(resume: str) -> None:
    """Raises ConfigError if the value cannot be right; nothing is read or fetched."""
    if resume in {AUTO, NEVER} or is_url(resume):
        return
    path = Path(resume)
    reason = None
    if not resume or not path.exists():
        reason = "there is no such checkpoint"
    elif path.is_dir() and not (path / MANIFEST).exists():
        reason = "a folder, but not a checkpoint in shards"
    elif path.is_file() and not sidecar_path(path).exists():
        reason = f"its description {sidecar_path(path).name} does not lie beside it"
    if reason is not None:
        raise ConfigError(
            f"resume={resume}: {reason}",
            field="resume",
            remedy="name a checkpoint, as RUN/checkpoints/last.ckpt, or use resume=auto or never",
        )


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a run begins."""

    checkpoint: Path | None = None
    own: bool = False
    """Whether the run in this folder wrote it, and so goes on under its own identity."""
    step: int | None = None
    """Optimiser steps that a run of its own has behind it."""
    run_id: str | None = None
    """Of a run of its own."""


def start_at(folder: Path, checkpoint: Path | None) -> Start:
    """What follows from the choice; it only reads, so every process may ask."""
    if checkpoint is None:
        return Start()
    if checkpoint.resolve().parent != (folder / CHECKPOINTS).resolve():
        return Start(checkpoint=checkpoint)
    entry = read_description(checkpoint)
    return Start(
        checkpoint=checkpoint, own=True, step=int(entry["step"]), run_id=entry.get("run_id")
    )


def choose_together(
    resume: str, files: RunFolder, group: Group, *, cause: str | None = None
) -> Path | None:
    """The main process chooses, for all; its error is everyone's. `cause`: of a restart.

    Whether this is a restart is told by the summary, in which the launcher has left no run id: an
    agent knows only its own restarts.
    """
    chosen: Path | TrainerError | Stopped | None = None
    if group.is_main:
        try:
            restarted = files.refresh().get("run_id") is not None
            chosen = choose_checkpoint(files.path, AUTO if restarted else resume)
            if restarted:
                _note_restart(files, cause)
                if chosen is None:
                    chosen = choose_checkpoint(files.path, resume)
                if chosen is None:
                    log.info("going on from the start: there is no checkpoint yet")
        except (TrainerError, Stopped) as error:
            chosen = error
    chosen = group.broadcast(chosen)
    if isinstance(chosen, TrainerError | Stopped):
        raise chosen
    return chosen


def _note_restart(files: RunFolder, cause: str | None) -> None:
    number = int(files.summary.get("restarts", 0)) + 1
    files.summarize(restarts=number)
    record(files.path, "restart", number=number, cause=cause)


def _newest(folder: Path, checkpoints: Path) -> Path | None:
    _sweep(checkpoints)
    found = _candidates(checkpoints)
    damaged = 0
    for candidate in found:
        try:
            entry = verify_checkpoint(candidate.path)
        except CheckpointError as error:
            quarantine(folder, candidate.path, error)
            damaged += 1
            continue
        if damaged:
            log.warning("falling back to %s, step %s", candidate.path, entry.get("step"))
            record(folder, "fallback", checkpoint=candidate.path.name, step=entry.get("step"))
        return candidate.path
    place = checkpoints / QUARANTINE
    if place.is_dir() and any(place.iterdir()):
        raise CheckpointError(
            f"{folder}: every checkpoint of this run is damaged; they are in {place}",
            field="resume",
            remedy="repair or bring back one of them, or start from zero with resume=never",
        )
    if (folder / WRITTEN).exists():
        raise CheckpointError(
            f"{checkpoints}: the checkpoints of this run are gone",
            field="resume",
            remedy="bring them back, or start from zero with resume=never",
        )
    return None


def _sweep(checkpoints: Path) -> None:
    """Remove what a killed process had begun to write; it never had a name."""
    for part in checkpoints.glob(".*.part"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _candidates(checkpoints: Path) -> list[_Candidate]:
    """Every checkpoint and every sidecar that has lost its own, newest first."""
    paths = set(checkpoints.glob(_PATTERN))
    for sidecar in checkpoints.glob(_PATTERN + SUFFIX):
        path = sidecar.with_name(sidecar.name.removesuffix(SUFFIX))
        if not path.exists() and is_pending(path):
            sidecar.unlink()
            continue
        paths.add(path)
    found = [_describe(path) for path in paths]
    found.sort(key=lambda c: (c.step, c.created, c.path.name in _PREFERRED), reverse=True)
    return found


def _describe(path: Path) -> _Candidate:
    try:
        entry: dict[str, Any] = read_description(path)
        return _Candidate(path, int(entry["step"]), str(entry.get("created", "")))
    except (CheckpointError, KeyError, TypeError, ValueError):
        # It may have been the newest: looked at, and moved away, before an older one is chosen.
        return _Candidate(path, math.inf, "")


def leave_others_behind(folder: Path, start: Start) -> bool:
    """Set aside what the run in `folder` does not go on from: checkpoints after its own start,
    all of them if it starts from another run's. Else a later start would take them for its own.

    Returns whether there were any. Only one process of a run may call this.
    """
    if start.checkpoint is None:
        return False
    checkpoints = folder / CHECKPOINTS
    after = -1 if start.step is None else start.step
    if not start.own:
        (folder / WRITTEN).unlink(missing_ok=True)
    left = [found.path for found in _candidates(checkpoints) if found.step > after]
    _set_aside(folder, checkpoints, [part for path in left for part in (path, sidecar_path(path))])
    return bool(left)


def _set_aside(folder: Path, checkpoints: Path, parts: list[Path]) -> None:
    """Move these out of the way, to `checkpoints.1`, `.2`, …; some need not be there."""
    parts = [part for part in parts if part.exists()]
    if not parts:
        return
    number = 1
    while (aside := checkpoints.with_name(f"{CHECKPOINTS}.{number}")).exists():
        number += 1
    aside.mkdir()
    for part in parts:
        part.rename(aside / part.name)
    log.warning("checkpoints that this run does not go on from were set aside in %s", aside)
    record(folder, "set_aside", checkpoints=aside.name)
