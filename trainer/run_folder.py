"""RunFolder: where a run keeps its config, checkpoints, metrics, pictures and summary."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from trainer.checkpoint import write_json
from trainer.errors import ConfigError

FINISHED = "finished"
RUNNING = "running"
FAILED = "failed"
STOPPED = "stopped"


class RunFolder:
    """The paths of a run, and its summary, which is rewritten whole at every change."""

    def __init__(self, path: Path | None = None) -> None:
        """`path`: made if it is not there; None: `outputs/<date>/<time>`.

        Raises ConfigError if a finished run is in it.
        """
        self.path = (path or _default_path()).absolute()
        self.path.mkdir(parents=True, exist_ok=True)
        self.summary: dict[str, Any] = {}
        self._refuse_finished()

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def summary_file(self) -> Path:
        return self.path / "summary.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    @property
    def assets(self) -> Path:
        return self.path / "assets"

    def write_config(self, yaml: str) -> None:
        """The resolved config, which everything after this reads."""
        self.config.write_text(yaml, encoding="utf-8")

    def summarize(self, **fields: Any) -> None:
        """Change fields of summary.json."""
        self.summary |= fields
        write_json(self.summary_file, self.summary)

    def _refuse_finished(self) -> None:
        try:
            summary = json.loads(self.summary_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(summary, dict) and summary.get("status") == FINISHED:
            raise ConfigError(
                f"hydra.run.dir={self.path}: a finished run is in it",
                field="hydra.run.dir",
                remedy="name another folder, or remove this one",
            )


def _default_path() -> Path:
    now = datetime.now().astimezone()
    return Path("outputs") / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S}"
