"""What happened to a run on its way: its events, in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from trainer.events import FILE as EVENTS
from trainer.report.blocks import Gap, Moment, Note, Section, Timeline
from trainer.report.text import moment, without_passwords

if TYPE_CHECKING:
    from trainer.report.recorded import Recorded

_KINDS = {
    "restart": ("Started again after a crash", "bad"),
    "resume": ("Went on from a checkpoint", "good"),
    "fallback": ("Fell back to an older checkpoint", "bad"),
    "quarantine": ("Put a damaged checkpoint into quarantine", "bad"),
    "set_aside": ("Set earlier checkpoints aside", "plain"),
    "out_of_memory": ("Ran out of memory; the batch is computed in smaller pieces", "bad"),
    "data_changed": ("Went on with other data than before", "bad"),
    "stop": ("Was asked to stop", "plain"),
    "failure": ("Failed", "bad"),
}


def history_section(run: Recorded) -> Section:
    """A timeline, oldest first."""
    if EVENTS in run.missing:
        gap = Gap(text=f"What happened on the way is not known: {run.missing[EVENTS]}.")
        return Section(id="events", title="Events", blocks=(gap,))
    if not run.events:
        text = "Nothing out of the ordinary: no restart, no resume, no fallback, no lack of memory."
        return Section(id="events", title="Events", blocks=(Note(text=text),))
    timeline = Timeline(moments=tuple(_moment(event) for event in run.events))
    return Section(id="events", title="Events", blocks=(timeline,))


def _moment(event: dict[str, Any]) -> Moment:
    kind = str(event.get("kind", "unnamed event"))
    title, tone = _KINDS.get(kind, (kind.replace("_", " ").capitalize(), "plain"))
    details = " · ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in event.items()
        if name not in {"time", "kind"} and value is not None
    )
    shown = moment(event.get("time"))
    return Moment(
        time=str(event.get("time", "")) if shown != event.get("time") else "",
        shown=shown,
        title=title,
        details=without_passwords(details),
        tone=tone,
    )
