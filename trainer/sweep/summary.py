"""What came of a sweep: `sweep.json`, and a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from bundle.table import format_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from trainer.schema import Direction

SUMMARY = "sweep.json"
SUMMARY_SCHEMA = 1
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "interrupted",
}
"""A trial that has begun and not ended is called interrupted: it runs again if the sweep does."""
_ROWS = 10


def trial_folder(number: int) -> str:
    """The trial's folder in the sweep's; always the same."""
    return f"trials/{number:04d}"


def summarize(study: Study, goals: Mapping[str, Direction], *, status: str) -> dict[str, Any]:
    """The content of `sweep.json`; `best` is null without a complete trial, and with several
    objectives every trial of the Pareto front is in `best_trials`.
    """
    trials = study.get_trials(deepcopy=False)
    counts = {name: sum(t.state is state for t in trials) for state, name in STATES.items()}
    front = best_trials(study)
    return {
        "schema": SUMMARY_SCHEMA,
        "status": status,
        "objectives": {name: direction.value for name, direction in goals.items()},
        "counts": {"all": len(trials), **counts},
        "best": _describe(front[0], goals) if front else None,
        "best_trials": [trial.number for trial in front],
        "trials": [_describe(trial, goals) for trial in trials],
    }


def best_trials(study: Study) -> list[FrozenTrial]:
    """The best complete trial, or the Pareto front; the earliest first among equals."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return []
    if len(study.directions) == 1:
        return [study.best_trial]
    return sorted(study.best_trials, key=lambda trial: trial.number)


def sweep_table(summary: Mapping[str, Any]) -> str:
    """The best trials first, then the pruned and failed ones; ten lines at most."""
    goals = summary["objectives"]
    main = next(iter(goals))
    sign = -1 if goals[main] == "max" else 1
    order = list(STATES.values())

    def rank(trial: Mapping[str, Any]) -> tuple[int, float]:
        value = trial["values"].get(main)
        return order.index(trial["state"]), 0.0 if value is None else sign * value

    trials = sorted(summary["trials"], key=rank)
    params = sorted({name for trial in trials for name in trial["params"]})
    rows = [
        [
            f"{trial['number']:04d}",
            trial["state"],
            *(_number(trial["values"].get(name)) for name in goals),
            *(_number(trial["params"].get(name)) for name in params),
        ]
        for trial in trials[:_ROWS]
    ]
    table = format_table(["trial", "state", *goals, *params], rows)
    left = len(trials) - len(rows)
    return f"{table}\n… and {left} more in {SUMMARY}" if left > 0 else table


def _describe(trial: FrozenTrial, goals: Mapping[str, Direction]) -> dict[str, Any]:
    values = list(trial.values or []) if trial.state is not TrialState.FAIL else []
    attributes = trial.user_attrs
    return {
        "number": trial.number,
        "state": STATES[trial.state],
        "values": dict(zip(goals, values, strict=False)),
        "params": dict(trial.params),
        "folder": trial_folder(trial.number),
        "seconds": attributes.get("seconds"),
        "validations": len(trial.intermediate_values),
        "run_id": attributes.get("run_id"),
        "checkpoint": attributes.get("checkpoint"),
        "error": attributes.get("error"),
    }


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
