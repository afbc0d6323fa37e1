"""Agent: torchrun's agent of one node, which starts the workers and starts them anew.

It differs from torch's in what it does about a failure: workers that lost a peer are killed at
once, a failure that would only recur is not tried again, a worker that stands still counts as
failed, and a restart waits a little longer every time.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent

from trainer.errors import TrainerError
from trainer.launching.rendezvous import expect_soon

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.distributed.elastic.agent.server.api import WorkerSpec
    from torch.distributed.elastic.multiprocessing import LogsSpecs

    from trainer.control import ControlFolder, Failure

log = logging.getLogger(__name__)
_LONGEST_BACKOFF = 60.0
_REAP_SECONDS = 5


class WorkerError(TrainerError):
    """The workers failed for good; carries the exit code of the error that ended them."""

    def __init__(self, message: str, *, exit_code: int = 1, field: str | None = None) -> None:
        super().__init__(message, field=field)
        self.exit_code = exit_code  # type: ignore[misc]  # the worker's, not this class's


class Agent(LocalElasticAgent):
    """See above. `run` returns when all workers ended well, and raises WorkerError otherwise."""

    def __init__(
        self,
        spec: WorkerSpec,
        logs: LogsSpecs,
        *,
        control: ControlFolder,
        backoff: float,
        hang_timeout: float | None,
        stop_timeout: float,
    ) -> None:
        """All times in seconds."""
        super().__init__(spec, logs, exit_barrier_timeout=30)
        self._control = control
        self._backoff = backoff
        self._hang_timeout = hang_timeout
        self._stop_timeout = stop_timeout
        self._kill_at: float | None = None
        self._had_batches = False
        self.has_workers = False
        """Whether there is somebody to ask: not before the nodes meet, nor before a restart."""
        self._ended: dict[int, int] = {}
        """Exit codes by local rank of the workers that ended before the others were killed."""

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._kill_at is not None

    def stop(self) -> None:
        """Ask the workers to save and end; those that do not in time are killed."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._stop_timeout
            self._send(signal.SIGTERM)

    def _send(self, signum: signal.Signals) -> None:
        pids = self._pcontext.pids() if self._pcontext is not None else {}
        for pid in pids.values():
            try:
                os.kill(pid, signum)
            except ProcessLookupError:
                continue

    # --- What torch's agent calls -------------------------------------------------------------

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        self._control.clear()
        self._ended = {}
        self.has_workers = True
        pids = super()._start_workers(worker_group)
        if self._pcontext is not None:
            self._pcontext.close = self._killing(self._pcontext)  # type: ignore[method-assign]
        if self.stopping:
            self._send(signal.SIGTERM)
        return pids  # type: ignore[no-any-return]

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        result: RunResult = super()._monitor_workers(worker_group)
        if result.state == WorkerState.HEALTHY:
            return self._healthy_or_not(result)
        if result.state in {WorkerState.FAILED, WorkerState.UNHEALTHY}:
            self._judge(self._cause())
        return result

    def _restart_workers(self, worker_group: WorkerGroup) -> None:
        # A node that joins or leaves brings everyone here too, and nothing failed.
        if worker_group.state in {WorkerState.FAILED, WorkerState.UNHEALTHY}:
            used = worker_group.spec.max_restarts - self._remaining_restarts
            pause = min(self._backoff * 2 ** (used - 1), _LONGEST_BACKOFF)
            self._stop_workers(worker_group)
            time.sleep(pause)
            expect_soon(worker_group.spec.rdzv_handler, after=pause)
        else:
            self._control.explain("a machine came or went")
        super()._restart_workers(worker_group)

    def _stop_workers(self, worker_group: WorkerGroup) -> None:
        super()._stop_workers(worker_group)
        self.has_workers = False

    # --- Judging ------------------------------------------------------------------------------

    def _healthy_or_not(self, result: RunResult) -> RunResult:
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            raise WorkerError(
                f"the workers did not end within trainer.stop_timeout={self._stop_timeout} s",
                exit_code=143,
            )
        silent = self._control.silent()
        self._had_batches = self._had_batches or bool(silent)
        if self._hang_timeout is None or not silent:
            return result
        rank, seconds = max(silent.items(), key=lambda item: item[1])
        if seconds <= self._hang_timeout:
            return result
        self._judge(f"rank {rank} finished no batch for {seconds:.0f} s")
        return RunResult(state=WorkerState.UNHEALTHY)

    def _judge(self, cause: Failure | str) -> None:
        """Say what happened; raises WorkerError if it is not to be tried again."""
        if self.stopping:
            raise WorkerError("the workers ended before they had saved", exit_code=143)
        if not isinstance(cause, str):
            if cause.final:
                raise WorkerError(cause.message, exit_code=cause.exit_code, field=cause.field)
            text = f"rank {cause.rank} failed ({cause.message})"
            had_batches = self._had_batches or bool(self._control.silent())
            if not had_batches and self._worker_group.group_world_size == 1:
                raise WorkerError(f"{text} before its first batch, so it was not tried again")
        else:
            text = cause
        self._had_batches = False
        self._control.explain(text)
        left = self._remaining_restarts
        if left == 0:
            total = self._worker_group.spec.max_restarts
            raise WorkerError(f"{text}; trainer.max_restarts={total} restarts were used up")
        log.warning("%s; starting all workers again, %d more restarts after this", text, left - 1)

    def _cause(self) -> Failure | str:
        """What went wrong first. A killed worker leaves no word; its peers' words come after."""
        failures = self._control.failures()
        if failures and failures[0].final:
            return failures[0]
        for local_rank, code in sorted(self._ended.items()):
            if code < 0:
                rank = self._worker_group.workers[local_rank].global_rank
                return f"rank {rank} was killed by {_signal_name(-code)}"
        return failures[0] if failures else "a worker ended without a word"

    def _killing(self, context: Any) -> Callable[..., None]:
        """Workers of a failed attempt have nothing left to say, and may wait for each other."""
        close = context.close

        def kill(death_sig: signal.Signals | None = None, timeout: int = 0) -> None:  # noqa: ARG001
            codes = {i: h.proc.poll() for i, h in context.subprocess_handlers.items()}
            if not self._ended:
                self._ended = {i: code for i, code in codes.items() if code not in {None, 0}}
            close(signal.SIGKILL, _REAP_SECONDS)

        return kill


def _signal_name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
