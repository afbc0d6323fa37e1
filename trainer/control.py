"""ControlFolder: what the processes of one node tell the launcher that started them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundle.command import describe
from bundle.errors import TrainyardError

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT = "TRAINYARD_CONTROL"
"""The variable that names the folder to the workers."""
_CAUSE = "cause"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a worker ended."""

    rank: int
    message: str
    exit_code: int
    final: bool
    """Whether the same would happen again: a wrong request, not a lost peer."""
    field: str | None = None


class ControlFolder:
    """Files of one attempt: `<rank>.beat`, touched at every batch, and how a worker ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: dict[int, tuple[int, float]] = {}
        """Of each rank, when its file was last touched, and when that was noticed."""

    @property
    def config(self) -> Path:
        """The resolved config, for the workers."""
        return self.path / "config.yaml"

    def clear(self) -> None:
        """Forget the attempt before."""
        for pattern in ("*.beat", "*.error", "*.stop"):
            for file in self.path.glob(pattern):
                file.unlink(missing_ok=True)
        self._seen = {}

    def explain(self, cause: str) -> None:
        """Why the workers that come now are not the first."""
        (self.path / _CAUSE).write_text(cause, encoding="utf-8")

    @property
    def cause(self) -> str | None:
        """What `explain` was told last on this node."""
        try:
            return (self.path / _CAUSE).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def beat(self, rank: int) -> None:
        """This worker has just finished a batch."""
        (self.path / f"{rank}.beat").touch()

    def rest(self, rank: int) -> None:
        """This worker is busy with something that has no batches."""
        (self.path / f"{rank}.beat").unlink(missing_ok=True)

    def silent(self) -> dict[int, float]:
        """Seconds for which no batch was noticed, for each rank that is in the middle of batches.

        To be asked often. A file's time only tells whether it is another one than before: it is
        the wall clock's, which may be set.
        """
        now, seen = time.monotonic(), {}
        for file in self.path.glob("*.beat"):
            rank = int(file.stem)
            try:
                touched = file.stat().st_mtime_ns
            except FileNotFoundError:
                continue
            before = self._seen.get(rank)
            seen[rank] = before if before is not None and before[0] == touched else (touched, now)
        self._seen = seen
        return {rank: now - noticed for rank, (_, noticed) in seen.items()}

    def stop(self, rank: int) -> None:
        """This worker ends because it was asked to, and not because all is done."""
        (self.path / f"{rank}.stop").touch()

    def has_stopped(self) -> bool:
        """Whether a worker of this node ended so."""
        return any(self.path.glob("*.stop"))

    def report(self, rank: int, error: Exception) -> Failure:
        """Leave word of the error that ends this worker."""
        known = isinstance(error, TrainyardError)
        text = describe(error) if isinstance(error, TrainyardError) else str(error)
        failure = Failure(
            rank=rank,
            message=" ".join((text if known else f"{type(error).__name__}: {text}").split()),
            exit_code=error.exit_code if isinstance(error, TrainyardError) else 1,
            final=known,
            field=error.field if isinstance(error, TrainyardError) else None,
        )
        partial = self.path / f"{rank}.partial"
        partial.write_text(json.dumps(failure.__dict__), encoding="utf-8")
        partial.rename(self.path / f"{rank}.error")
        return failure

    def failures(self) -> list[Failure]:
        """Of all workers, in the order in which they failed; those that would recur first."""
        files = sorted(self.path.glob("*.error"), key=lambda file: file.stat().st_mtime_ns)
        found = [Failure(**json.loads(file.read_text(encoding="utf-8"))) for file in files]
        return sorted(found, key=lambda failure: not failure.final)
