"""Side: one loop in a process of its own, which makes a lap when it is its turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.loops.lap import Lap
from benchmarks.loops.stopwatch import TURN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]


class Side:
    """Runs `benchmarks/loops/<loop>.py`; all of them wait while one of them has its turn."""

    def __init__(self, loop: str, *flags: str, environment: Mapping[str, str]) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        report, theirs = os.pipe()
        self._command = [sys.executable, "-m", f"benchmarks.loops.{loop}", *flags]
        self._process = subprocess.Popen(
            [*self._command, f"--report={theirs}"], stdin=subprocess.PIPE, stdout=self._log,
            stderr=self._log, env=dict(environment), cwd=ROOT, pass_fds=[theirs], text=True,
        )  # fmt: skip
        os.close(theirs)
        self._report = os.fdopen(report)

    def __enter__(self) -> Side:
        """It is warm when this returns."""
        self._line()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._report.close()
        self._log.close()

    def lap(self) -> Lap:
        """Let it make its steps while the others wait."""
        print(TURN, file=self._process.stdin, flush=True)
        return Lap(**json.loads(self._line()))

    def _line(self) -> str:
        line = self._report.readline()
        if not line:
            self._log.seek(0)
            sys.exit(f"error: {' '.join(self._command)} ended:\n{self._log.read()}")
        return line
