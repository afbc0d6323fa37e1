"""models.py: the subcommands, their arguments, and what each one does to the registry."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bundle.command import CommandParser
from bundle.errors import RequestError
from bundle.loading import loading
from bundle.model_name import check_asked_name
from bundle.models_report import (
    describe_change,
    describe_version,
    history_table,
    model_table,
    version_table,
)
from bundle.quotation import quoted
from bundle.shares import WHOLE, check_shadow_percent, check_shares
from bundle.version_number import HOW_TO_WRITE, is_alias, version_number

if TYPE_CHECKING:
    from bundle.registry import Event, ModelRegistry

Report = tuple[Any, str]
"""The same as a JSON document and as text."""
Subcommand = Callable[["ModelRegistry", argparse.Namespace], Report]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand on the registry that MLFLOW_TRACKING_URI names."""
    options = _parser().parse_args(arguments)
    _check(options)
    with loading():  # MLflow takes seconds, for which --help and a typing error need not wait
        from bundle.registry import ModelRegistry

    run: Subcommand = options.run
    document, text = run(ModelRegistry(), options)
    print(json.dumps(document, indent=2, ensure_ascii=False) if options.json else text)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse at once what no registry has to be asked about, which takes seconds."""
    if options.name is not None:
        check_asked_name(options.name)
    if options.run is _split:
        options.shares = _read_shares(options.shares)
        check_shares(options.shares)
    if options.run is _shadow:
        check_shadow_percent(WHOLE if options.percent is None else options.percent)
        if options.off and options.percent is not None:
            raise RequestError(
                "--off ends a shadow, and --percent is one's share",
                field="percent",
                remedy="give one of them",
            )
        if options.off == (options.number is not None):
            raise RequestError(
                "a shadow is either a NUMBER or --off", field="number", remedy="give one of them"
            )


def _list(registry: ModelRegistry, options: argparse.Namespace) -> Report:
    if options.name is not None:
        versions = registry.versions(options.name)
        return [version.to_dict() for version in versions], version_table(versions)
    models = registry.models()
    return [model.to_dict() for model in models], model_table(models)


def _show(registry: ModelRegistry, options: argparse.Namespace) -> Report:
    version = registry.get(options.name, options.number)
    return version.to_dict(), describe_version(version)


def _promote(registry: ModelRegistry, options: argparse.Namespace) -> Report:
    event = registry.promote(options.name, options.number, dry_run=options.dry_run)
    return _change(event, options)


def _split(registry: ModelRegistry, options: argparse.Namespace) -> Report:
    event = registry.split(options.name, options.shares, dry_run=options.dry_run)
    return _change(event, options)


def _ramp(registry: ModelRegistry, options: argparse.Namespace) -> Report:
    return _change(registry.ramp(options.name, options.number, dry_run=options.dry_run), options)


def _shadow(registry: ModelRegistry, options: argparse.Namespace) -> Report:
    percent = WHOLE if options.percent is None else options.percent
    event = registry.shadow(options.name, options.number, percent=percent, dry_run=options.dry_run)
    return _change(event, options)


def _rollback(registry: ModelRegistry, options: argparse.Namespace) -> Report:
    return _change(registry.rollback(options.name, dry_run=options.dry_run), options)


def _history(registry: ModelRegistry, options: argparse.Namespace) -> Report:
    events = registry.history(options.name)
    return [event.to_dict() for event in events], history_table(events)


def _change(event: Event, options: argparse.Namespace) -> Report:
    document = {"name": options.name, "dry_run": options.dry_run, **event.to_dict()}
    return document, describe_change(options.name, event, dry_run=options.dry_run)


def _read_shares(texts: Sequence[str]) -> dict[int, float]:
    """`NUMBER=PERCENT` each. Raises RequestError."""
    shares: dict[int, float] = {}
    for text in texts:
        number, _, share = text.partition("=")
        version, percent = version_number(number), _percent(share.removesuffix("%"))
        if version is None or percent is None:
            raise RequestError(
                f"{quoted(text)} is not a share",
                field="shares",
                remedy="write NUMBER=PERCENT, as in 3=10",
            )
        if version in shares:
            raise RequestError(
                f"version {version} has two shares", field="shares", remedy="give each version one"
            )
        shares[version] = percent
    return shares


def _percent(text: str) -> float | None:
    """None for what is no number, or written as only Python does."""
    try:
        return float(text) if text.isascii() and not re.search(r"[_\s]", text) else None
    except ValueError:
        return None


def _given_percent(text: str) -> float:
    """As `_version_number`."""
    percent = _percent(text)
    if percent is None:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number of percent")
    return percent


def _version_number(text: str) -> int:
    """Raises ArgumentTypeError, which argparse puts the argument's name before."""
    number = version_number(text)
    if number is None and is_alias(text):
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not the number of a version: if it is an alias, "
            "models.py show NAME ALIAS tells which number has it"
        )
    if number is None:
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not the number of a version: {HOW_TO_WRITE}"
        )
    return number


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="models.py",
        description="Versions of models in the registry that MLFLOW_TRACKING_URI names.",
    )
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Subcommand, text: str, *, changes: bool) -> argparse.ArgumentParser:
        subcommand = subcommands.add_parser(name, help=text, description=text)
        subcommand.set_defaults(run=run)
        subcommand.add_argument("--json", action="store_true", help="print JSON")
        if changes:
            subcommand.add_argument(
                "--dry-run", action="store_true", help="say what would change, and change nothing"
            )
        return subcommand

    listing = add("list", _list, "All models, or all versions of one.", changes=False)
    listing.add_argument("name", nargs="?", metavar="NAME")
    show = add("show", _show, "Everything known of one version.", changes=False)
    show.add_argument("name", metavar="NAME")
    show.add_argument("number", metavar="NUMBER", help="a version's number, or an alias")
    promote = add("promote", _promote, "Make a version champion, with all traffic.", changes=True)
    promote.add_argument("name", metavar="NAME")
    promote.add_argument("number", metavar="NUMBER", type=_version_number)
    split = add("split", _split, "Share the traffic among versions.", changes=True)
    split.add_argument("name", metavar="NAME")
    split.add_argument("shares", metavar="NUMBER=PERCENT", nargs="+")
    ramp = add(
        "ramp", _ramp, "Give a version 1, 5, 25, 100 percent while it does well.", changes=True
    )
    ramp.add_argument("name", metavar="NAME")
    ramp.add_argument("number", metavar="NUMBER", type=_version_number)
    shadow = add("shadow", _shadow, "Ask a version along, unseen, to compare it.", changes=True)
    shadow.add_argument("name", metavar="NAME")
    shadow.add_argument("number", metavar="NUMBER", type=_version_number, nargs="?")
    shadow.add_argument(
        "--percent", type=_given_percent, help="share of the requests (default: all)"
    )
    shadow.add_argument("--off", action="store_true", help="ask none any more")
    rollback = add("rollback", _rollback, "Undo the last promotion, split or ramp.", changes=True)
    rollback.add_argument("name", metavar="NAME")
    history = add("history", _history, "Who changed what, and when.", changes=False)
    history.add_argument("name", metavar="NAME")
    return parser
