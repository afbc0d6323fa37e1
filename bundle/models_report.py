"""What models.py prints for people: tables, and sentences about a change."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bundle.quotation import shorten
from bundle.table import format_table, terminal_width

if TYPE_CHECKING:
    from datetime import datetime

    from bundle.registry import Event, ModelVersion, RegisteredModel, Routing

NOTHING = "-"
MOST_METRICS = 3
"""Of a version in the list."""
STAGES = ("test", "", "val")
MEASURES = ("accuracy", "f1", "loss")


def model_table(models: Sequence[RegisteredModel]) -> str:
    """With a column for what is wrong, if one of the models cannot be read."""
    header = ("NAME", "VERSIONS", "CHAMPION", "TRAFFIC", "SHADOW", "ALIASES")
    if all(model.error is None for model in models):
        return _table(header, [_standing(model) for model in models])
    rows = [(*_standing(model), model.error or NOTHING) for model in models]
    return _table((*header, "ERROR"), rows)


def _standing(model: RegisteredModel) -> tuple[str, ...]:
    if model.error is not None:
        return (model.name, *[NOTHING] * 5)
    aliases = [f"{alias}={number}" for alias, number in sorted(model.aliases.items())]
    return (
        model.name,
        str(len(model.versions)),
        _number(model.routing.champion),
        _shares(model.routing),
        _shadow(model.routing) or NOTHING,
        " ".join(aliases) or NOTHING,
    )


def version_table(versions: Sequence[ModelVersion]) -> str:
    header = ("NUMBER", "ALIASES", "CREATED", "VARIANT", "CERTIFIED", "SIZE", "METRICS")
    rows = []
    for version in versions:
        facts = version.metadata
        certified = facts.get("certified")
        rows.append(
            (
                str(version.number),
                ", ".join(version.aliases) or NOTHING,
                _time(version.created),
                str(facts.get("default_variant", NOTHING)),
                NOTHING if certified is None else "yes" if certified else "no",
                _size(facts.get("bytes")),
                _metrics(facts.get("metrics")),
            )
        )
    return _table(header, rows)


def describe_version(version: ModelVersion) -> str:
    """One line a fact, the bundle's own facts after the registry's."""
    facts: dict[str, Any] = version.to_dict()
    facts |= facts.pop("metadata")
    rows = []
    for key, value in facts.items():
        several = key == "metrics" and isinstance(value, Mapping) and value
        entries = sorted(value.items()) if several else []
        rows += [(f"{key}.{name}", _value(entry)) for name, entry in entries] or [
            (key, _value(value))
        ]
    return _table(("FIELD", "VALUE"), rows)


def describe_change(name: str, event: Event, *, dry_run: bool) -> str:
    before, after = _routing(event.before), _routing(event.after)
    if event.before == event.after:
        return f"{name}: nothing to change, {after} already"
    verb = "would go" if dry_run else "went"
    return f"{name}: {event.action} {verb} from {before} to {after}"


def history_table(events: Sequence[Event]) -> str:
    header = ("TIME", "WHO", "ACTION", "FROM", "TO")
    rows = [
        (
            _time(event.time),
            event.who,
            event.action if event.version is None else f"{event.action} {event.version}",
            _routing(event.before),
            _routing(event.after),
        )
        for event in events
    ]
    return _table(header, rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return format_table(header, rows, width=terminal_width())


def _routing(routing: Routing) -> str:
    parts = [f"champion {_number(routing.champion)}"]
    if routing.split:
        parts.append(f"split {_shares(routing)}")
    if routing.ramp is not None:
        parts.append(f"ramp of {routing.ramp}")
    if routing.shadow is not None:
        parts.append(f"shadow {_shadow(routing)}")
    return ", ".join(parts)


def _shadow(routing: Routing) -> str:
    shadow = routing.shadow
    return "" if shadow is None else f"{shadow.number}={shadow.percent:g}%"


def _shares(routing: Routing) -> str:
    return " ".join(f"{number}={share:g}%" for number, share in routing.shares.items()) or NOTHING


def _number(number: int | None) -> str:
    return NOTHING if number is None else str(number)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%SZ}"


def _size(size: Any) -> str:
    if not isinstance(size, int):
        return NOTHING
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"


def _metrics(metrics: Any) -> str:
    """The few that versions are chosen by; `show` has all of them."""
    if not isinstance(metrics, Mapping) or not metrics:
        return NOTHING
    ranked = _by_rank(metrics)
    shown = [f"{shorten(name)}={shorten(_value(value))}" for name, value in ranked[:MOST_METRICS]]
    more = len(ranked) - len(shown)
    return " ".join(shown + ([f"+{more}"] if more else []))


def _by_rank(metrics: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The measures of quality first, each of the test and then of validation; the rest by name."""

    def rank(entry: tuple[str, Any]) -> tuple[int, str]:
        stage, _, measure = entry[0].rpartition("/")
        if measure not in MEASURES or stage not in STAGES:
            return len(MEASURES) * len(STAGES), entry[0]
        return MEASURES.index(measure) * len(STAGES) + STAGES.index(stage), entry[0]

    return sorted(metrics.items(), key=rank)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
