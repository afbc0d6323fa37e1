"""What `export.py` does with its composed config."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from bundle.loading import loading
from optimize.schema import check
from trainer.errors import Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from omegaconf import DictConfig

    from optimize.schema import ExportConfig


def export(cfg: DictConfig) -> None:
    """Run the export; on stdout its table, and the bundle's path as the last line."""
    config: ExportConfig = OmegaConf.to_object(cfg)  # type: ignore[assignment]
    check(config)
    with loading():  # it takes seconds, which --help and a mistyped field need not wait for
        from optimize.optimizer import ModelOptimizer
        from optimize.progress import StageProgress
        from optimize.report import report

    with _stopped_by_sigterm():
        outcome = ModelOptimizer(config, progress=StageProgress()).run()
        print(report(outcome))
        print(outcome.bundle.path, flush=True)


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds the export, so that what is unfinished is removed. Raises Stopped."""

    def terminate(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise Stopped("stopped by SIGTERM")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
