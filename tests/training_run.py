"""Runs of `train.py` as a user starts them, in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch

from trainer.metrics.metric import read_metrics

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from trainer.metrics.metric import Metric

ROOT = Path(__file__).resolve().parent.parent
MLP = ("model=mlp", "model.dropout=0", "model.hidden=[32]")
RESNET = ("model=resnet_tiny", "model.widths=[4,8,8]")
SMALL = (
    "data=digits",
    "data.batch_size=64",
    "tracking=none",
    "trainer.report=false",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
)
"""What trains in a moment."""
PLAIN_SGD = (
    "optim=sgd",
    "optim.lr=0.1",
    "optim.momentum=0",
    "optim.nesterov=false",
    "optim.weight_decay=0",
    "optim.schedule=constant",
    "optim.warmup=0",
)
TWO = ("trainer.devices=2",)
THREE = ("trainer.devices=3", "data.batch_size=63")
PATIENCE = 280.0
"""Longest wait for anything, in seconds; only a hang reaches it."""


class TrainingRun:
    """One `train.py`, from its start to its end."""

    def __init__(
        self,
        folder: Path,
        *overrides: str,
        model: tuple[str, ...] = MLP,
        prefix: tuple[str, ...] = (),
        flags: tuple[str, ...] = (),
        **env: str,
    ) -> None:
        self.folder = folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.output = folder.with_name(folder.name + ".output")
        with self.output.open("a") as stream:
            self.process = subprocess.Popen(
                [
                    *prefix,
                    sys.executable,
                    str(ROOT / "train.py"),
                    *flags,
                    *SMALL,
                    *model,
                    *overrides,
                    f"hydra.run.dir={folder}",
                ],
                cwd=folder.parent,
                env={**os.environ, "PYTHONPATH": str(ROOT), **env},
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> int:
        """The exit code."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(f"hangs:\n{self.text}") from None

    def finish(self) -> TrainingRun:
        """Wait for a good end."""
        assert self.wait() == 0, self.text
        return self

    def end(self) -> None:
        """Nothing is left running."""
        for worker in self.workers():
            worker.kill()
        self.process.kill()
        self.process.wait()

    def signal(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    def kill(self) -> None:
        """kill -9 for all of its processes, the launcher first."""
        processes = [psutil.Process(self.process.pid), *self.descendants()]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(processes, timeout=PATIENCE)

    def descendants(self) -> list[psutil.Process]:
        """Every process that this one has started, and theirs."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        """The worker processes, by rank."""
        try:
            children = psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []
        found = []
        for child in children:
            try:
                if "trainer.launching.worker" in child.cmdline():
                    found.append((child.environ()["RANK"], child))
            except psutil.Error:
                continue
        return [child for _, child in sorted(found, key=lambda item: item[0])]

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for `condition` while the run goes on; what it returned."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            assert self.process.poll() is None, self.text
            time.sleep(0.02)
        self.end()
        raise AssertionError(f"nothing happened:\n{self.text}")

    def until_step(self, step: int) -> None:
        """Wait for a checkpoint of this step or a later one."""
        self.until(lambda: self.saved_step() >= step)

    def saved_step(self) -> int:
        """Of the last checkpoint; -1 if there is none."""
        try:
            sidecar = self.folder / "checkpoints" / "last.ckpt.json"
            return int(json.loads(sidecar.read_text())["step"])
        except (OSError, ValueError):
            return -1

    @property
    def text(self) -> str:
        """stdout and stderr, in order."""
        return self.output.read_text()

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())

    @property
    def metrics(self) -> list[Metric]:
        """The rows of `metrics.csv`, in their order."""
        return read_metrics(self.folder / "metrics.csv")

    def weights(self, name: str = "last") -> dict[str, torch.Tensor]:
        """The model's state in a checkpoint."""
        path = self.folder / "checkpoints" / f"{name}.ckpt"
        return torch.load(path, weights_only=True)["state_dict"]


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest absolute difference between two states."""
    assert one.keys() == other.keys()
    return max(float((one[k].double() - other[k].double()).abs().max()) for k in one)
