"""The picture of a sweep: how it went, which fields mattered, and where good values lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from trainer.schema import Direction
from trainer.sweep.summary import best_trials

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from optuna.study import Study
    from optuna.trial import FrozenTrial

_DPI = 120
_MOST_SLICES = 4


def draw_sweep(
    study: Study, goals: Mapping[str, Direction], path: Path, *, title: str
) -> Path | None:
    """As a PNG; None, and no file, without a complete trial."""
    from matplotlib.figure import Figure  # takes half a second, and is needed when all is over

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return None
    weights = importances(study)
    fields = list(weights) or sorted(complete[0].params)
    slices = fields[:_MOST_SLICES]
    figure = Figure(figsize=(4 * max(2, len(slices)), 7.2), layout="constrained")
    upper, lower = figure.subfigures(2, 1, squeeze=False)[:, 0]
    first, second = upper.subplots(1, 2)
    if len(goals) == 1:
        _draw_history(first, study, goals)
    else:
        _draw_front(first, study, goals)
    _draw_importances(second, weights)
    axes = lower.subplots(1, len(slices), squeeze=False, sharey=True)[0]
    for panel, name in zip(axes, slices, strict=True):
        _draw_slice(panel, complete, name)
    axes[0].set_ylabel(next(iter(goals)))
    figure.suptitle(f"{title}: {len(complete)} complete trials")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)
    return path


def importances(study: Study) -> dict[str, float]:
    """Each field's share of the main objective's variance (fANOVA), largest first.

    Empty while there are too few trials, or if their values do not differ.
    """
    try:
        return dict(
            get_param_importances(
                study, evaluator=FanovaImportanceEvaluator(seed=0), target=_main_value
            )
        )
    except (ValueError, RuntimeError):
        return {}


def _main_value(trial: FrozenTrial) -> float:
    return float(trial.values[0])


def _draw_history(axes: Axes, study: Study, goals: Mapping[str, Direction]) -> None:
    from matplotlib.ticker import MaxNLocator  # see draw_sweep

    ((metric, direction),) = goals.items()
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    pruned = [t for t in trials if t.state is TrialState.PRUNED and t.values]
    failed = [trial.number for trial in trials if trial.state is TrialState.FAIL]
    numbers, values = [t.number for t in complete], [_main_value(t) for t in complete]
    best, line = values[0], []
    for value in values:
        best = max(best, value) if direction is Direction.max else min(best, value)
        line.append(best)
    axes.plot(numbers, line, drawstyle="steps-post", label="best so far")
    axes.scatter(numbers, values, s=14, label="complete")
    if pruned:
        axes.scatter(
            [trial.number for trial in pruned],
            [_main_value(trial) for trial in pruned],
            marker="x",
            s=18,
            color="grey",
            label="pruned",
        )
    for number in failed:
        axes.axvline(number, color="tab:red", alpha=0.3, label="failed")
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(unique.values(), unique.keys(), fontsize="small")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    axes.set_ylabel(metric)
    axes.set_title("history")
    axes.grid(visible=True, alpha=0.3)


def _draw_front(axes: Axes, study: Study, goals: Mapping[str, Direction]) -> None:
    """The first two objectives; the Pareto front stands out."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    front = best_trials(study)
    for trials, label in ((complete, "complete"), (front, "best")):
        axes.scatter(
            [trial.values[0] for trial in trials],
            [trial.values[1] for trial in trials],
            s=16,
            label=label,
        )
    names = list(goals)
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    axes.set_title("Pareto front")
    axes.legend(fontsize="small")
    axes.grid(visible=True, alpha=0.3)


def _draw_importances(axes: Axes, weights: Mapping[str, float]) -> None:
    axes.set_title("importance")
    if not weights:
        axes.text(0.5, 0.5, "too few trials", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    names = list(weights)[::-1]
    axes.barh(names, [weights[name] for name in names], height=0.6)
    axes.set_ylim(-1, len(names))
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the variance")


def _draw_slice(axes: Axes, complete: Sequence[FrozenTrial], name: str) -> None:
    trials = [trial for trial in complete if name in trial.params]
    values: list[Any] = [trial.params[name] for trial in trials]
    kind = trials[0].distributions[name]
    if isinstance(kind, CategoricalDistribution):
        axes.set_xticks(range(len(kind.choices)), [str(choice) for choice in kind.choices])
        values = [kind.to_internal_repr(value) for value in values]
    elif isinstance(kind, FloatDistribution | IntDistribution) and kind.log:
        axes.set_xscale("log")
    colours = [trial.number for trial in trials]
    axes.scatter(values, [_main_value(t) for t in trials], s=14, c=colours, cmap="Blues", vmin=-5)
    axes.set_xlabel(name)
    axes.grid(visible=True, alpha=0.3)
