"""One trial, in a process of its own: `python -m trainer.sweep.trial FOLDER PARENT`.

The folder has the trial's resolved config; Hydra is not asked again.
"""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

from omegaconf import OmegaConf

from bundle.command import run_command
from bundle.parent import end_with_parent
from trainer.build import plain
from trainer.errors import Stopped
from trainer.launch import DistributedTrainer

_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def main() -> None:
    """Train what the folder's config says."""
    folder, parent = Path(sys.argv[1]), int(sys.argv[2])
    # A killed sweep leaves no trials.
    if not end_with_parent(parent, signal.SIGTERM):
        raise Stopped("the sweep that started this trial is gone")
    logging.basicConfig(level=logging.INFO, format=_LINE, stream=sys.stderr)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    cfg = OmegaConf.create(plain(OmegaConf.load(folder / "config.yaml")))
    DistributedTrainer(cfg).run(folder)


if __name__ == "__main__":
    run_command(main)
