"""How a run ended, in words and in a few numbers."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from trainer.metrics.calibration import wilson_interval
from trainer.metrics.metric import series
from trainer.report.blocks import Facts, Gap, Listing, Note, Section, Tile
from trainer.report.text import duration, number, percent, without_passwords
from trainer.run_folder import FAILED, FINISHED, RUNNING, STOPPED, SUMMARY

if TYPE_CHECKING:
    from trainer.metrics.calibration import Calibration
    from trainer.report.blocks import Block
    from trainer.report.recorded import Recorded

_GO_ON = (
    "python train.py hydra.run.dir=DIR, with the same overrides, goes on from the last checkpoint."
)


def status_of(run: Recorded) -> tuple[str, str]:
    """A word, and whether it is `good`, `bad`, `busy` or `unknown`."""
    if run.status == FINISHED:
        return "finished", "good"
    if run.status == FAILED:
        return "failed", "bad"
    if run.status == STOPPED:
        return "stopped", "busy"
    if run.status == RUNNING:
        return ("interrupted", "bad") if run.alive is False else ("running", "busy")
    return "unknown", "unknown"


def outcome_section(run: Recorded) -> Section:
    """What happened."""
    blocks: list[Block] = [_story(run)]
    error = run.summary.get("error")
    if error:
        blocks.append(Facts(rows=(("Reason", without_passwords(str(error))),)))
    steps = run.summary.get("steps")
    restarts = run.summary.get("restarts")
    rows = [
        ("Steps", str(steps) if steps is not None else ""),
        ("Time", duration(run.summary.get("seconds"))),
        ("Restarts", str(restarts) if restarts else ""),
        ("Best checkpoint", str(run.summary.get("best_checkpoint") or "")),
        ("Last checkpoint", str(run.summary.get("last_checkpoint") or "")),
    ]
    shown = tuple((name, value) for name, value in rows if value)
    if shown:
        blocks.append(Facts(rows=shown))
    if run.log_tail and run.status != FINISHED:
        blocks.append(Listing(title="The last lines of train.log", text=run.log_tail))
    return Section(id="outcome", title="What happened", blocks=tuple(blocks))


def _story(run: Recorded) -> Block:
    if run.status == FINISHED:
        return Note(text="The run came to its end: trained, tested and recorded.")
    if run.status == FAILED:
        return Note(text=f"The run failed. Once the reason is mended, {_GO_ON}")
    if run.status == STOPPED:
        return Note(text=f"The run was asked to stop, and saved its state first. {_GO_ON}")
    if run.status == RUNNING and run.alive is False:
        return Note(
            text="The run's last word is that it trains, but no process does: it was killed, or the"
            f" machine went down. {_GO_ON}"
        )
    if run.status == RUNNING:
        text = "The run is training; this page is of the moment at which it was made."
        if run.alive is None:
            text = "The run says that it trains; whether a process does cannot be told from here."
        return Note(text=text)
    why = run.missing.get(SUMMARY, f"{SUMMARY} has no status that this version knows")
    return Gap(text=f"How the run went is not known: {why}. It is written when a run begins.")


def tiles(run: Recorded, calibration: Calibration | None) -> tuple[Tile, ...]:
    """The numbers to see first; those that there are."""
    found: list[Tile] = []
    metrics = run.summary.get("metrics")
    values = metrics if isinstance(metrics, dict) else {}
    if calibration is not None:
        low, high = wilson_interval(calibration.accuracy, calibration.samples)
        hint = f"95 %: {percent(low)} to {percent(high)}, n = {calibration.samples}"
        found.append(Tile(label="Test accuracy", value=percent(calibration.accuracy), hint=hint))
    if "val/accuracy" in values:
        value = percent(values["val/accuracy"])
        found.append(Tile(label="Validation accuracy", value=value, hint="best checkpoint"))
    else:
        steps, accuracies = series(run.metrics, "val/accuracy")
        if steps:
            best = max(accuracies)
            hint = f"best so far, at step {steps[accuracies.index(best)]}"
            found.append(Tile(label="Validation accuracy", value=percent(best), hint=hint))
    if "test/loss" in values:
        found.append(
            Tile(label="Test loss", value=number(values["test/loss"]), hint="cross entropy")
        )
    if calibration is not None:
        hint = f"expected, in {len(calibration.bins)} bins"
        found.append(Tile(label="Calibration error", value=percent(calibration.error), hint=hint))
    rates = series(run.performance, "throughput/samples")[1]
    if rates:
        value = number(median(rates))
        found.append(Tile(label="Samples a second", value=value, hint="median"))
    seconds = duration(run.summary.get("seconds"))
    if seconds:
        hint = f"{run.summary.get('steps', 0)} steps"
        found.append(Tile(label="Time", value=seconds, hint=hint))
    return tuple(found)
