"""Which checkpoint a run goes on from."""

from __future__ import annotations

import logging
from pathlib import Path

from trainer.checkpoint import verify_checkpoint
from trainer.errors import CheckpointError

log = logging.getLogger(__name__)


def choose_checkpoint(folder: Path, resume: str) -> Path | None:
    """`auto`: the newest in `folder` that verifies, None if there is none at all; `never`: None;
    anything else is the path itself. Raises CheckpointError if all in the folder are bad.
    """
    if resume == "never":
        return None
    if resume != "auto":
        return Path(resume)
    found = sorted(folder.glob("*.ckpt"))
    good: list[tuple[int, bool, Path]] = []
    for path in found:
        try:
            good.append((int(verify_checkpoint(path)["step"]), path.stem == "last", path))
        except CheckpointError as error:
            log.warning("%s", error)
    if found and not good:
        raise CheckpointError(f"{folder}: none of its {len(found)} checkpoints can be used")
    return max(good)[2] if good else None
