"""A trial as its sweep sees it: a process to start, watch and end, and the metrics it writes."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
LOG = "train.log"


class TrialProcess:
    """`trainer.sweep.trial` on a folder that has a config."""

    def __init__(self, folder: Path, *, environment: Mapping[str, str], lock: int) -> None:
        """Start it. `lock`: a file descriptor that it holds open as long as it lives."""
        self.folder = folder
        self.began = time.monotonic()
        self._killed_at: float | None = None
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with (folder / LOG).open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "trainer.sweep.trial", str(folder), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment, "PYTHONPATH": path},
                pass_fds=[lock],
                # Ctrl-C on the terminal reaches the sweep alone, which then ends its trials.
                start_new_session=True,
            )

    @property
    def seconds(self) -> float:
        """Since it started."""
        return time.monotonic() - self.began

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self._killed_at is not None and time.monotonic() > self._killed_at:
            self.kill()
        code = self._process.poll()
        if code is not None:
            self.kill()
        return code

    def stop(self, *, grace: float) -> None:
        """Ask it to end, and kill it if it has not after `grace` seconds."""
        if self._killed_at is None and self._process.poll() is None:
            self._killed_at = time.monotonic() + grace
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and whatever it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class MetricTail:
    """The values of one metric in a `metrics.csv` that is being written."""

    def __init__(self, path: Path, metric: str) -> None:
        self._path = path
        self._metric = metric
        self._file = 0
        self._offset = 0
        self._count = 0

    def read(self) -> list[tuple[int, float]]:
        """What came since the last call: number of the value, from 0, and value.

        A run that goes on from a checkpoint replaces the file: its values come again.
        """
        try:
            with self._path.open("rb") as stream:
                file = os.fstat(stream.fileno()).st_ino
                if file != self._file:
                    self._file, self._offset, self._count = file, 0, 0
                stream.seek(self._offset)
                lines = stream.read()
        except OSError:
            return []
        whole = lines[: lines.rfind(b"\n") + 1]
        self._offset += len(whole)
        rows = csv.reader(whole.decode("utf-8").splitlines())
        values = [float(row[2]) for row in rows if row[1:2] == [self._metric]]
        first, self._count = self._count, self._count + len(values)
        return list(enumerate(values, start=first))
