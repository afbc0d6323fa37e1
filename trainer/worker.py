# LEAD: STOP, read /work/main/LEAD_NOTE_TO_TRAINER_CORE.txt (DDP comes from branch launch)
"""One of a run's processes: `python -m trainer.worker FOLDER`, started by `trainer/launch.py`.

It reads the config that was composed once, and never looks at the command line's overrides.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from bundle.command import TRACEBACK_VARIABLE
from trainer.place import Place, place_from_environment
from trainer.run import train


def main() -> None:
    """Train; leave with the error's exit code. Rank 0 writes the reason to summary.json."""
    folder, place = Path(sys.argv[1]), place_from_environment()
    _set_up_logging(folder, place)
    cfg = OmegaConf.load(folder / "config.yaml")
    if not isinstance(cfg, DictConfig):
        raise TypeError(f"{folder}/config.yaml holds no fields")
    if cfg.trainer.threads is None:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // place.world_size))
    try:
        train(cfg, folder=folder)
        torch.distributed.barrier()
    except Exception as error:  # noqa: BLE001 - rank 0 has written it to summary.json
        if not place.keeps_records or os.environ.get(TRACEBACK_VARIABLE):
            traceback.print_exc()
        sys.exit(getattr(error, "exit_code", 1))
    finally:
        # Its threads would otherwise be alive when the interpreter ends, and abort it.
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _set_up_logging(folder: Path, place: Place) -> None:
    """Rank 0 speaks as a run alone would; the others are heard when something is wrong."""
    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(message)s"))
    file = logging.FileHandler(folder / "train.log", delay=True)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.setLevel(logging.INFO if place.keeps_records else logging.WARNING)
    root.handlers = [console, file] if place.keeps_records else [console]


if __name__ == "__main__":
    main()
