"""One of several processes of a run, started by the agent.

`python -m trainer.launching.worker RUN_FOLDER` is its command.

The config is the one that the launcher wrote; nothing is composed here.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from bundle.command import TRACEBACK_VARIABLE
from bundle.loading import loading
from bundle.parent import end_with_parent
from trainer.control import ENVIRONMENT, ControlFolder
from trainer.errors import Stopped
from trainer.parallel.group import Group

if TYPE_CHECKING:
    from typing import NoReturn

log = logging.getLogger(__name__)
LAUNCHER = "TRAINYARD_LAUNCHER"
"""The variable with the launcher's process id."""


def main() -> NoReturn:
    """Train; the exit code is 0 when done or stopped as asked, else the error's."""
    launcher = int(os.environ.get(LAUNCHER, os.getppid()))
    if not end_with_parent(launcher, signal.SIGKILL):
        os._exit(1)
    with loading():
        from trainer.run import train_in_group

    folder = Path(sys.argv[1])
    group = Group.from_environment()
    control = ControlFolder(Path(os.environ[ENVIRONMENT]))
    _log_to(folder / "train.log", group)
    code = 0
    try:
        cfg = OmegaConf.load(control.config)
        train_in_group(cfg, folder=folder, group=group, control=control)  # type: ignore[arg-type]
    except Stopped:
        control.stop(group.rank)  # the launcher, which may not have been asked, tells where
    except Exception as error:  # noqa: BLE001 - the launcher tells it, in one line
        if os.environ.get(TRACEBACK_VARIABLE, "") not in {"", "0"}:
            traceback.print_exc()
        code = control.report(group.rank, error).exit_code
    # No interpreter shutdown: threads of a broken process group could keep it from ending.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _log_to(path: Path, group: Group) -> None:
    """Stderr and the run's log, as the launcher does, but with the rank in front."""
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(logging.Formatter(f"[rank {group.rank}] %(message)s"))
    file = logging.FileHandler(path, delay=True)
    file.setFormatter(
        logging.Formatter(f"%(asctime)s %(levelname)s [rank {group.rank}] %(name)s: %(message)s")
    )
    logging.basicConfig(
        level=logging.INFO if group.is_main else logging.WARNING, handlers=[console, file]
    )


if __name__ == "__main__":
    main()
