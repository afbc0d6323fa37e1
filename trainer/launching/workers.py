"""A run in several processes: started by torchrun's agent, watched, and ended together.

Each process is a `trainer.launching.worker`, which reads the config that was composed once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from torch.distributed.elastic.rendezvous import RendezvousError

from trainer.checkpoints.checkpoint import read_description
from trainer.checkpoints.manager import BEST, LAST
from trainer.control import ENVIRONMENT, ControlFolder
from trainer.errors import CheckpointError, Interrupted, Stopped, TrainerError
from trainer.events import ENDS, record
from trainer.finished import finished_metrics
from trainer.launching.agent import Agent, WorkerError
from trainer.launching.rendezvous import Meeting
from trainer.launching.worker import LAUNCHER
from trainer.records import start_tracking, store_tables
from trainer.run import settle
from trainer.run_folder import FAILED, FINISHED, STOPPED, RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from omegaconf import DictConfig

    from trainer.preflight import Plan

log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]
_MONITOR_SECONDS = 0.2


def train_in_workers(cfg: DictConfig, plan: Plan, *, folder: Path) -> dict[str, float]:
    """`train`, in as many processes as `plan` says; on several nodes, each calls this."""
    cfg = settle(cfg)
    files = RunFolder(folder)
    finished = finished_metrics(cfg, files)
    if finished is not None:
        return finished
    return _Launch(cfg, plan, files).run()


class _Launch:
    """One run's workers on this node."""

    def __init__(self, cfg: DictConfig, plan: Plan, files: RunFolder) -> None:
        self._cfg = cfg
        self._plan = plan
        self._files = files
        self._meeting = Meeting.plan(cfg)

    def run(self) -> dict[str, float]:
        """Until all workers ended. Raises how they ended, if not well."""
        files, plan, meeting = self._files, self._plan, self._meeting
        with files.claimed() if meeting.is_host else nullcontext():
            if meeting.is_host:
                files.begin(name=self._cfg.name)
            log.info(
                "%d processes on %d node(s), %s", plan.world_size, plan.nodes, plan.accelerator
            )
            with tempfile.TemporaryDirectory(prefix="trainyard-") as folder:
                control = ControlFolder(Path(folder))
                control.config.write_text(OmegaConf.to_yaml(self._cfg), encoding="utf-8")
                environment = _worker_environment(plan, meeting, folder)
                with _environment(environment), _quiet_torchrun():
                    self._watch(self._agent(control), control)
        return dict(files.refresh().get("metrics", {}))

    def _agent(self, control: ControlFolder) -> Agent:
        trainer = self._cfg.trainer
        try:
            spec = self._meeting.worker_spec(
                processes=self._plan.devices,
                entrypoint=sys.executable,
                arguments=("-m", "trainer.launching.worker", str(self._files.path)),
                max_restarts=trainer.max_restarts,
                monitor_seconds=_MONITOR_SECONDS,
            )
        except RendezvousError as cause:
            raise self._explained(cause) from cause
        return Agent(
            spec,
            self._meeting.logs(str(control.path)),
            control=control,
            backoff=trainer.restart_backoff,
            hang_timeout=trainer.hang_timeout,
            stop_timeout=trainer.stop_timeout,
        )

    def _watch(self, agent: Agent, control: ControlFolder) -> None:
        with _StopRequests(agent) as requests:
            try:
                agent.run()
            except (TrainerError, Stopped) as problem:
                stopped = requests.error is not None or isinstance(problem, Stopped)
                self._abandon(STOPPED if stopped else FAILED, problem)
                if requests.error is not None and isinstance(problem, WorkerError):
                    raise requests.error(str(problem)) from problem
                raise
            except Exception as cause:
                if type(cause).__module__.startswith("torch.distributed"):
                    raise self._explained(cause) from cause
                raise
            finally:
                self._meeting.close()
        summary = self._files.refresh()
        # Workers may be asked without their launcher, and by another node's.
        stop = requests.error or (Stopped if control.has_stopped() else None)
        if stop is not None and summary.get("status") != FINISHED:
            last = summary.get("last_checkpoint")
            error = stop(
                f"stopped at step {summary.get('steps', 0)}"
                + (f"; {last} is its checkpoint" if last else "")
            )
            self._abandon(STOPPED, error)
            raise error

    def _explained(self, cause: Exception) -> TrainerError:
        """What the rendezvous said, for the user and in the summary."""
        explained = self._meeting.explain(cause)
        self._abandon(FAILED, explained)
        return explained

    def _abandon(self, status: str, error: TrainerError | Stopped) -> None:
        """Leave the records that the workers could not."""
        if not self._meeting.is_host:
            return
        files = self._files
        summary = files.refresh()
        if summary.get("status") in {STOPPED, FINISHED}:
            return
        told = f"{type(error).__name__}: {error}"
        run_id = summary.get("run_id")
        if run_id is None:
            files.refuse(status, told)
            return
        record(files.path, ENDS[status], error=told)
        last, best = files.checkpoints / LAST, files.checkpoints / BEST
        files.summarize(
            status=status,
            error=told,
            last_checkpoint=str(last) if last.exists() else None,
            best_checkpoint=str(best) if best.exists() else None,
            steps=max(int(summary.get("steps") or 0), _saved_step(last)),
        )
        try:
            tracker = start_tracking(self._cfg, folder=files.path, run_id=run_id)
            store_tables(tracker, files)
            tracker.finish(status)
        except (TrainerError, Stopped) as second:
            log.warning("%s", second)


def _saved_step(checkpoint: Path) -> int:
    """What is certain of a run whose processes can tell no more."""
    try:
        return int(read_description(checkpoint).get("step", 0))
    except CheckpointError:
        return 0


class _StopRequests:
    """While entered, SIGTERM and Ctrl-C ask the workers to save; a second one kills them.

    While there are no workers, as before the nodes meet and before a restart, one ends the run.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._before: dict[int, Any] = {}
        self.error: type[Stopped] | None = None

    def __enter__(self) -> _StopRequests:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, frame: object) -> None:  # noqa: ARG002
        error = Interrupted if signum == signal.SIGINT else Stopped
        name = signal.Signals(signum).name
        if self.error is not None:
            raise error(f"killed by a second {name}")
        self.error = error
        if not self._agent.has_workers:
            raise error(f"stopped by {name} while no worker ran")
        self._agent.stop()


def _worker_environment(plan: Plan, meeting: Meeting, control: str) -> dict[str, str]:
    paths = [str(_ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    wanted = {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        # A restart through the shared store hangs on its old keys (pytorch/pytorch#135712).
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // plan.devices)),
        **meeting.environment(),
    }
    given = {key: value for key, value in wanted.items() if key not in os.environ}
    return {
        **given,
        "PYTHONPATH": wanted["PYTHONPATH"],
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        # SIGTERM and SIGINT stay ours: torch's agent would drop everything.
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGQUIT",
        ENVIRONMENT: control,
        LAUNCHER: str(os.getpid()),
    }


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The agent's workers inherit these; they are put back at the end."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _quiet_torchrun() -> Iterator[None]:
    """What its loggers have to say is said by ours in one line."""
    loggers = [
        logging.getLogger(name)
        for name in list(logging.Logger.manager.loggerDict)
        if name.startswith("torch.distributed.elastic")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
