"""RunFolder: where a run keeps its config, checkpoints, metrics, pictures and summary."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import struct
import sys
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from bundle.atomic_file import json_text, write_json, write_text
from bundle.errors import first_line
from trainer.errors import ConfigError
from trainer.metrics import predictions

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

FINISHED = "finished"
RUNNING = "running"
FAILED = "failed"
STOPPED = "stopped"
CONFIG = "config.yaml"
SUMMARY = "summary.json"
_LOCK = ".lock"
_FLOCK = "@hhqqi"
"""C's `struct flock` on Linux: type, whence, start, length, process."""


class RunFolder:
    """The paths of a run, and its summary, which is rewritten whole at every change."""

    def __init__(self, path: Path | None = None) -> None:
        """`path`: made if it is not there; None: `outputs/<date>/<time>`.

        Raises ConfigError if there can be no such folder.
        """
        self.path = (path or _default_path()).absolute()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"hydra.run.dir={self.path}: no folder can be made there ({error.strerror})",
                field="hydra.run.dir",
                remedy="name another folder",
            ) from error
        self.summary: dict[str, Any] = {}
        self.earlier = self._read_summary()
        """The summary of the run that was here before; empty if none was."""

    @property
    def config(self) -> Path:
        return self.path / CONFIG

    @property
    def summary_file(self) -> Path:
        return self.path / SUMMARY

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def performance(self) -> Path:
        """Like `metrics`, of what depends on the machine and the moment."""
        return self.path / "performance.csv"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    @property
    def assets(self) -> Path:
        return self.path / "assets"

    @property
    def predictions(self) -> Path:
        return self.path / predictions.FILE

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def write_config(self, yaml: str) -> None:
        """The resolved config, which everything after this reads."""
        write_text(self.config, yaml)

    def summarize(self, **fields: Any) -> None:
        """Change fields of summary.json."""
        self.summary |= fields
        try:
            write_json(self.summary_file, self.summary)
        except OSError as error:
            if error.errno != errno.ENOSPC or not self.summary_file.exists():
                raise
            # There is room where it lies: how a run ended must not be lost with the disk.
            with self.summary_file.open("r+", encoding="utf-8", errors="backslashreplace") as file:
                file.write(json_text(self.summary))
                file.truncate()

    def begin(self, *, name: str) -> None:
        """The summary of a run that is about to start."""
        self.summary = {}
        self.summarize(
            status=RUNNING,
            name=name,
            run_id=None,
            best_checkpoint=None,
            last_checkpoint=None,
            steps=0,
            metrics={},
        )

    def forget_results(self) -> None:
        """What an earlier run came to is no longer what this folder's run came to."""
        for file in (self.predictions, self.report):
            file.unlink(missing_ok=True)

    def refuse(self, status: str, error: str) -> None:
        """The summary of an attempt that never began: what an earlier run left, and why."""
        self.summary |= self.earlier
        self.summarize(status=status, error=error)

    def refresh(self) -> dict[str, Any]:
        """The summary as another process has left it."""
        self.summary = self._read_summary()
        return self.summary

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """While entered, no other run can train in this folder; its death ends that, too.

        Of a run in several processes the launcher claims it. Raises ConfigError if another run
        has it.
        """
        with (self.path / _LOCK).open("a") as lock:
            try:
                # Unlike flock, not inherited by loader processes that may outlive this one.
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"hydra.run.dir={self.path}: another process is training in it",
                    field="hydra.run.dir",
                    remedy="wait for it, or name another folder",
                ) from None
            except OSError as error:
                log.warning("%s: cannot be locked (%s)", self.path, error)
            yield

    def earlier_config(self) -> dict[str, Any]:
        """The resolved config of the run that was here before.

        Raises ConfigError if the file is damaged.
        """
        if not self.config.exists():
            return {}
        try:
            config = OmegaConf.to_container(OmegaConf.load(self.config))
        except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
            raise ConfigError(
                f"{self.config}: cannot be read ({first_line(error)})",
                field="hydra.run.dir",
                remedy="bring the file back, or name another folder",
            ) from error
        return {str(k): v for k, v in config.items()} if isinstance(config, dict) else {}

    def _read_summary(self) -> dict[str, Any]:
        try:
            summary = json.loads(self.summary_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return summary if isinstance(summary, dict) else {}


def is_claimed(folder: Path) -> bool | None:
    """Whether another process of this machine trains in `folder`; None where that is not told.

    Never for a folder that this process has claimed: closing the file would end the claim.
    """
    if sys.platform != "linux":
        return None
    free = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    try:
        with (folder / _LOCK).open("rb") as lock:
            # Asks, and unlike an attempt never stands in the way of a run that begins.
            answer = fcntl.fcntl(lock, fcntl.F_GETLK, free)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _default_path() -> Path:
    now = datetime.now().astimezone()
    return Path("outputs") / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S}"
