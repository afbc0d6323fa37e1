# LEAD: STOP, read /work/main/LEAD_NOTE_TO_TRAINER_CORE.txt (DDP comes from branch launch)
"""DistributedTrainer: how many processes a run takes, and who starts them.

One process trains here. For more, the config that was composed once is written to the run folder,
and torchrun's agent starts workers that read it: they never see Hydra, so a sweep over several
processes is as many clean jobs as a sweep over one.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from trainer.errors import ConfigError, Interrupted, PreflightError, Stopped, TrainerError
from trainer.preflight import Plan, preflight
from trainer.run_folder import FAILED, FINISHED, STOPPED, RunFolder
from trainer.settle import settle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omegaconf import DictConfig

_ROOT = Path(__file__).resolve().parent.parent
_AGENT = "torch.distributed.elastic"
_KILLERS = {signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
"""Signals that end a worker from outside; the others fail after it, and because of it."""


class WorkerKilledError(TrainerError):
    """The system ended one of the processes, most often for want of memory."""


class DistributedTrainer:
    """Runs one config."""

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg = cfg

    def preflight(self) -> Plan:
        """Where the run will compute. Raises PreflightError, before any work, if it cannot."""
        plan = preflight(self._cfg)
        if plan.nodes > 1:
            raise PreflightError(
                f"trainer.num_nodes={plan.nodes}: training on several machines is not supported",
                field="trainer.num_nodes",
                remedy="use trainer.num_nodes=1",
            )
        return plan

    def run(self, folder: Path) -> dict[str, float]:
        """Train, and test the best checkpoint; the metrics."""
        plan = self.preflight()
        if plan.world_size > 1:
            return _run_workers(self._cfg, folder=folder, processes=plan.devices)
        # Lightning takes seconds to load: what preflight refuses is answered without it.
        from trainer.run import train

        return train(self._cfg, folder=folder)


def _run_workers(cfg: DictConfig, *, folder: Path, processes: int) -> dict[str, float]:
    """Start the workers and wait for them. Raises what went wrong first."""
    files = RunFolder(folder)
    files.write_config(OmegaConf.to_yaml(settle(cfg)))
    files.forget_summary()
    failure = _launch(files.path, processes=processes)
    files.summary = files.read_summary()
    status = files.summary.get("status")
    if failure is None and status == FINISHED:
        metrics: dict[str, float] = files.summary["metrics"]
        return metrics
    if isinstance(failure, Stopped):
        files.summarize(status=STOPPED, error=str(failure))
        raise failure
    if status == FAILED and not isinstance(failure, WorkerKilledError):
        wrong = files.summary.get("exit_code") == ConfigError.exit_code
        raise (ConfigError if wrong else TrainerError)(str(files.summary.get("error")))
    failure = failure or TrainerError("the workers ended without a result")
    files.summarize(status=FAILED, error=str(failure))
    failure.remedy = f"see {files.workers}"
    raise failure


def _launch(folder: Path, *, processes: int) -> Stopped | TrainerError | None:
    """What went wrong with the workers, if something did."""
    # Loaded only where workers are started.
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    quiet: dict[int, Std] = dict.fromkeys(range(1, processes), Std.ALL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "workers"), redirects=quiet),
    )
    with _agent_settings():
        try:
            elastic_launch(config, sys.executable)("-m", "trainer.worker", str(folder))
        except ChildFailedError as error:
            rank, failed = error.get_first_failure()
            if -failed.exitcode in _KILLERS:
                name = signal.Signals(-failed.exitcode).name
                return WorkerKilledError(f"worker {rank} was killed by {name}")
            return TrainerError(f"worker {rank} ended with exit code {failed.exitcode}")
        except SignalException as error:
            kind = Interrupted if error.sigval == signal.SIGINT else Stopped
            return kind(f"stopped by {signal.Signals(error.sigval).name}")
    return None


@contextmanager
def _agent_settings() -> Iterator[None]:
    """The agent reports through its log what we say in a line, and keeps the signals it takes."""
    before: dict[int, Any] = {
        signum: signal.getsignal(signum)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    }
    path = os.environ.get("PYTHONPATH")
    known = logging.root.manager.loggerDict
    talkers = [logging.getLogger(name) for name in known if name.startswith(_AGENT)]
    levels = [talker.level for talker in talkers]
    for talker in talkers:
        talker.setLevel(logging.CRITICAL)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *([path] if path else [])])
    try:
        yield
    finally:
        for talker, level in zip(talkers, levels, strict=True):
            talker.setLevel(level)
        if path is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = path
        for signum, handler in before.items():
            signal.signal(signum, handler)
