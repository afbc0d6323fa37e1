"""SweepRunner: starts trials, watches them, ends those without promise, and tells the study."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from bundle.errors import TrainyardError
from trainer.run_folder import FINISHED
from trainer.sweep.outcome import explain_failure, is_finished, read_summary, read_values
from trainer.sweep.process import MetricTail, TrialProcess
from trainer.sweep.study import resume_trial
from trainer.sweep.summary import STATES, best_trials, trial_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from optuna.study import Study
    from optuna.trial import Trial

    from trainer.callbacks.stop import StopSignals
    from trainer.schema import Direction
    from trainer.sweep.record import SweepRecord
    from trainer.sweep.space import Space

log = logging.getLogger(__name__)
_POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a sweep is done, and how much runs at a time."""

    trials: int
    jobs: int
    max_failures: int
    stop_seconds: float


@dataclass(kw_only=True)
class _Active:
    """A trial that runs."""

    trial: Trial
    process: TrialProcess
    tail: MetricTail
    slot: int
    reported: set[int]
    """Numbers of the validations that the study knows."""
    pruned: bool = False


class SweepRunner:
    """Runs the trials of a study that are still to run."""

    def __init__(
        self,
        study: Study,
        space: Space,
        *,
        folder: Path,
        goals: Mapping[str, Direction],
        limits: Limits,
        record: SweepRecord,
        prepare: Callable[[Path, int, dict[str, Any]], None],
        environment: Callable[[int], Mapping[str, str]],
        changed: Callable[[], object],
        resumes: bool,
        lock: int,
    ) -> None:
        """`prepare(folder, number, params)` writes a trial's config; `environment(slot)` is
        what the trial in that slot gets; `changed()` is called when a trial has ended.
        `resumes`: an interrupted trial goes on by itself when it is started in its folder.
        """
        self.failures = 0
        self._study = study
        self._space = space
        self._folder = folder
        self._goals = goals
        self._limits = limits
        self._record = record
        self._prepare = prepare
        self._environment = environment
        self._changed = changed
        self._resumes = resumes
        self._lock = lock
        self._active: list[_Active] = []
        states = (TrialState.RUNNING,)
        self._interrupted = deque(t.number for t in study.get_trials(deepcopy=False, states=states))

    @property
    def failed(self) -> bool:
        """Whether more trials failed than may."""
        return 0 <= self._limits.max_failures < self.failures

    def run(self, signals: StopSignals) -> None:
        """Until all trials have ended, too many have failed, or a signal has come.

        Trials that a signal ended stay begun in the study, and run again when the sweep does.
        """
        try:
            while True:
                if signals.requested is not None:
                    for active in self._active:
                        active.process.stop(grace=self._limits.stop_seconds)
                elif not self.failed:
                    self._fill()
                if not self._active:
                    break
                for active in list(self._active):
                    self._look(active, stopping=signals.requested is not None)
                time.sleep(_POLL_SECONDS)
        finally:
            for active in self._active:
                active.process.kill()

    def _fill(self) -> None:
        """Start trials until all slots are taken; the interrupted ones first."""
        while len(self._active) < self._limits.jobs and not self.failed:
            if self._interrupted:
                trial = resume_trial(self._study, self._interrupted.popleft())
            elif len(self._study.get_trials(deepcopy=False)) < self._limits.trials:
                trial = self._study.ask()
            else:
                return
            self._start(trial)

    def _start(self, trial: Trial) -> None:
        params = self._space.suggest(trial)
        folder = self._folder / trial_folder(trial.number)
        if is_finished(folder):  # the sweep was killed before it could write the result down
            self._finish(trial, folder, code=0, seconds=None, pruned=False)
            return
        self._set_aside(folder, trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._prepare(folder, trial.number, params)
        except TrainyardError as error:
            self._end(trial, folder, TrialState.FAIL, error=str(error))
            return
        slot = min(set(range(self._limits.jobs)) - {active.slot for active in self._active})
        process = TrialProcess(folder, environment=self._environment(slot), lock=self._lock)
        tail = MetricTail(folder / "metrics.csv", next(iter(self._goals)))
        known = self._study.get_trials(deepcopy=False)[trial.number].intermediate_values
        self._active.append(
            _Active(trial=trial, process=process, tail=tail, slot=slot, reported=set(known))
        )

    def _set_aside(self, folder: Path, number: int) -> None:
        """An attempt that cannot go on is kept beside the folder, as `0007.interrupted-1`."""
        if not folder.exists():
            return
        if self._resumes:
            log.info("trial %04d was interrupted: it goes on from its last checkpoint", number)
            return
        run_id = read_summary(folder).get("run_id")
        self._record.trial_ended(run_id, number=number, state="interrupted", metrics=None)
        attempt = 1
        while (kept := folder.with_name(f"{folder.name}.interrupted-{attempt}")).exists():
            attempt += 1
        folder.rename(kept)
        log.info("trial %04d was interrupted: again, with the same values", number)

    def _look(self, active: _Active, *, stopping: bool) -> None:
        code = active.process.poll()
        if not stopping and len(self._goals) == 1:
            self._report(active)
        if code is None:
            return
        self._active.remove(active)
        finished = code == 0 and is_finished(active.process.folder)
        if stopping and not finished:
            log.info("trial %04d stopped; it runs again when the sweep does", active.trial.number)
            return
        self._finish(
            active.trial,
            active.process.folder,
            code=code,
            seconds=active.process.seconds,
            pruned=active.pruned,
        )

    def _report(self, active: _Active) -> None:
        """Tell the study what came since the last look, and ask whether it is worth going on."""
        for number, value in active.tail.read():
            # An attempt that was interrupted has reported its first values already.
            if number in active.reported or not math.isfinite(value):
                continue
            active.reported.add(number)
            active.trial.report(value, number)
            if not active.pruned and active.trial.should_prune():
                active.pruned = True
                active.process.stop(grace=self._limits.stop_seconds)

    def _finish(
        self, trial: Trial, folder: Path, *, code: int, seconds: float | None, pruned: bool
    ) -> None:
        summary = read_summary(folder)
        attributes = {
            "seconds": round(seconds, 2) if seconds is not None else summary.get("seconds"),
            "run_id": summary.get("run_id"),
            "checkpoint": summary.get("best_checkpoint") or summary.get("last_checkpoint"),
        }
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        if code == 0 and summary.get("status") == FINISHED:
            try:
                values = read_values(folder, self._goals)
            except ValueError as error:
                self._end(trial, folder, TrialState.FAIL, error=str(error))
            else:
                self._end(trial, folder, TrialState.COMPLETE, values=values)
        elif pruned:
            self._end(trial, folder, TrialState.PRUNED)
        else:
            self._end(trial, folder, TrialState.FAIL, error=explain_failure(folder, code))

    def _end(
        self,
        trial: Trial,
        folder: Path,
        state: TrialState,
        *,
        values: Mapping[str, float] | None = None,
        error: str | None = None,
    ) -> None:
        if error is not None:
            self.failures += 1
            trial.set_user_attr("error", error)
        run_id = read_summary(folder).get("run_id")
        self._study.tell(trial, list(values.values()) if values else None, state=state)
        name = STATES[state]
        self._record.trial_ended(run_id, number=trial.number, state=name, metrics=values)
        self._tell_user(trial, name, values=values, error=error)
        self._changed()

    def _tell_user(
        self,
        trial: Trial,
        state: str,
        *,
        values: Mapping[str, float] | None,
        error: str | None,
    ) -> None:
        said = "  ".join(f"{name} {value:.4f}" for name, value in (values or {}).items())
        if error is not None:
            said = f"{error} (see {trial_folder(trial.number)})"
        params = "  ".join(self._space.varied(trial.params))
        best = best_trials(self._study)
        best_of = f"  best so far {best[0].number:04d}" if best and len(self._goals) == 1 else ""
        log.info("trial %04d  %s  %s  %s%s", trial.number, state, said, params, best_of)
