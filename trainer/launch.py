"""DistributedTrainer: how many processes a run takes, and who starts them.

One process trains right here. More are started by torchrun's agent, each as `trainer.worker`,
which reads the config that was composed once and written to the run folder.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from trainer.agent import Agent, WorkerError
from trainer.control import ENVIRONMENT, ControlFolder
from trainer.errors import Interrupted, Stopped, TrainerError
from trainer.preflight import Plan, check_folder, preflight
from trainer.records import start_tracking
from trainer.rendezvous import Meeting
from trainer.run import settle, train
from trainer.run_folder import FAILED, FINISHED, STOPPED, RunFolder
from trainer.worker import LAUNCHER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from omegaconf import DictConfig

log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parent.parent
_MONITOR_SECONDS = 0.2


class DistributedTrainer:
    """Runs one config."""

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg = settle(cfg)

    def preflight(self, folder: Path) -> Plan:
        """Where the run will compute. Raises PreflightError, before any work, if it cannot."""
        plan = preflight(self._cfg)
        check_folder(folder)
        return plan

    def run(self, folder: Path) -> dict[str, float]:
        """Train, and test the best checkpoint; the metrics."""
        plan = self.preflight(folder)
        if plan.world_size == 1:
            return train(self._cfg, folder=folder)
        return self._launch(plan, RunFolder(folder))

    def _launch(self, plan: Plan, files: RunFolder) -> dict[str, float]:
        meeting = Meeting.plan(self._cfg)
        files.write_config(OmegaConf.to_yaml(self._cfg))
        if meeting.is_host:
            files.begin(name=self._cfg.name)
        log.info("%d processes on %d node(s), %s", plan.world_size, plan.nodes, plan.accelerator)
        with tempfile.TemporaryDirectory(prefix="trainyard-") as control:
            environment = _worker_environment(plan, meeting, control)
            with _environment(environment), _quiet_torchrun():
                agent = Agent(
                    meeting.worker_spec(
                        processes=plan.devices,
                        entrypoint=sys.executable,
                        arguments=("-m", "trainer.worker", str(files.path)),
                        max_restarts=self._cfg.trainer.max_restarts,
                        monitor_seconds=_MONITOR_SECONDS,
                    ),
                    meeting.logs(control),
                    control=ControlFolder(Path(control)),
                    backoff=self._cfg.trainer.restart_backoff,
                    hang_timeout=self._cfg.trainer.hang_timeout,
                    stop_timeout=self._cfg.trainer.stop_timeout,
                )
                self._watch(agent, meeting, files)
        return dict(files.refresh().get("metrics", {}))

    def _watch(self, agent: Agent, meeting: Meeting, files: RunFolder) -> None:
        """Until all workers ended. Raises how they ended, if not well."""
        with _StopRequests(agent) as requests:
            try:
                agent.run()
            except TrainerError as problem:
                stopped = requests.error is not None or isinstance(problem, Stopped)
                self._abandon(files, meeting, STOPPED if stopped else FAILED, problem)
                if requests.error is not None and isinstance(problem, WorkerError):
                    raise requests.error(str(problem)) from problem
                raise
            except Exception as cause:
                if type(cause).__module__.startswith("torch.distributed"):
                    explained = meeting.explain(cause)
                    self._abandon(files, meeting, FAILED, explained)
                    raise explained from cause
                raise
            finally:
                meeting.close()
        summary = files.refresh()
        if requests.error is not None and summary.get("status") != FINISHED:
            last = summary.get("last_checkpoint")
            error = requests.error(
                f"stopped at step {summary.get('steps', 0)}"
                + (f"; {last} is its checkpoint" if last else "")
            )
            self._abandon(files, meeting, STOPPED, error)
            raise error

    def _abandon(
        self, files: RunFolder, meeting: Meeting, status: str, error: TrainerError
    ) -> None:
        """Leave the records that the workers could not."""
        if not meeting.is_host:
            return
        summary = files.refresh()
        if summary.get("status") in {STOPPED, FINISHED}:
            return
        last = files.checkpoints / "last.ckpt"
        best = files.checkpoints / "best.ckpt"
        files.summarize(
            status=status,
            error=f"{type(error).__name__}: {error}",
            last_checkpoint=str(last) if last.is_file() else None,
            best_checkpoint=str(best) if best.is_file() else None,
        )
        run_id = summary.get("run_id")
        if run_id is not None:
            try:
                start_tracking(self._cfg, run_id=run_id).finish(status)
            except TrainerError as second:
                log.warning("%s", second)


class _StopRequests:
    """While entered, SIGTERM and Ctrl-C ask the workers to save; a second one kills them."""

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
        if self.error is not None:
            raise error(f"killed by a second {signal.Signals(signum).name}")
        self.error = error
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
