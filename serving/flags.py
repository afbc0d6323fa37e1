"""Reading the settings: flags, then the environment, then a TOML file, then the defaults."""

from __future__ import annotations

import argparse
import difflib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from serving.errors import SettingsError
from serving.guard import VARIABLE as KEYS_VARIABLE
from serving.settings import PREFIX, SPECS, Settings, convert, docstrings, flag, variable
from serving.signature import VARIABLE as SECRET_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONFIG_VARIABLE = f"{PREFIX}CONFIG"
FOREIGN_VARIABLES = (
    CONFIG_VARIABLE,
    KEYS_VARIABLE,
    SECRET_VARIABLE,
    f"{PREFIX}TRACEBACK",
    f"{PREFIX}CACHE",
)
"""Variables with our prefix that are not settings of the server."""


@dataclass(frozen=True)
class CommandLine:
    """What `serve.py` was asked to do."""

    settings: Settings
    origins: dict[str, str]
    """Where each setting's value comes from."""
    print_settings: bool
    warnings: tuple[str, ...]
    """What looks like a mistake, and is not wrong enough to refuse."""

    def toml(self) -> str:
        """The settings as a file that --config reads, each with its origin."""
        lines = []
        for name in SPECS:
            value = getattr(self.settings, name)
            shown = _ascii(json.dumps(value, ensure_ascii=False))
            lines.append(f"{name} = {shown}  # {self.origins[name]}")
        return "\n".join(lines)


def _ascii(text: str) -> str:
    """With every other character as TOML escapes it, which any terminal shows."""
    return "".join(c if " " <= c <= "~" else f"\\U{ord(c):08X}" for c in text)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(message, remedy="see --help")


def read_command_line(argv: Sequence[str], environment: Mapping[str, str]) -> CommandLine:
    """Raises SettingsError that names the source of a wrong value."""
    arguments = vars(_parser().parse_args(argv))
    values: dict[str, Any] = {}
    origins = dict.fromkeys(SPECS, "default")
    config = arguments["config"] or environment.get(CONFIG_VARIABLE)
    if config:
        for name, value in _read_file(Path(config)).items():
            values[name] = convert(SPECS[name], value, source=f"{config}: {name}")
            origins[name] = config
    for name, spec in SPECS.items():
        given = environment.get(variable(spec))
        if given:
            values[name] = convert(spec, given, source=variable(spec))
            origins[name] = variable(spec)
        given = arguments[name]
        if given is not None:
            values[name] = convert(spec, given, source=flag(spec))
            origins[name] = flag(spec)
    return CommandLine(
        settings=Settings(**values),
        origins=origins,
        print_settings=arguments["print_settings"],
        warnings=tuple(_misspelt(environment)),
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="serve.py",
        description="Serve verified bundles over HTTP.",
        epilog=f"Each flag is also a variable {PREFIX}<FLAG> and a key of the --config file.",
        allow_abbrev=False,
    )
    texts = docstrings()
    for name, spec in SPECS.items():
        default = spec.default if spec.default not in ((), "") else None
        suffix = f" (default: {default})" if default is not None else ""
        parser.add_argument(
            flag(spec),
            dest=name,
            action="append" if name == "model" else "store",
            metavar=name.rsplit("_", 1)[-1].upper() if name != "model" else "[NAME=]URI",
            help=(texts[name] + suffix).replace("%", "%%"),
        )
    parser.add_argument("--config", metavar="FILE", help="TOML file with any of these settings.")
    parser.add_argument(
        "--print-settings",
        action="store_true",
        help="Print the settings and where each comes from, and exit.",
    )
    return parser


def _read_file(path: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"--config {path} cannot be read: {error.strerror}", field="config"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"--config {path} is not TOML: {error}", field="config") from error
    values = {key.replace("-", "_"): value for key, value in document.items()}
    for name in values:
        if name not in SPECS:
            raise SettingsError(
                f"{path}: {name} is not a setting", field=name, remedy=_suggest(name, list(SPECS))
            )
    return values


def _misspelt(environment: Mapping[str, str]) -> list[str]:
    known = [variable(spec) for spec in SPECS.values()]
    return [
        f"{name} is not a setting; {suggestion}"
        for name in sorted(environment)
        if name.startswith(PREFIX)
        and name not in known
        and name not in FOREIGN_VARIABLES
        and (suggestion := _suggest(name, known, only_close=True))
    ]


def _suggest(name: str, known: list[str], *, only_close: bool = False) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.85 if only_close else 0.6)
    if close:
        return f"did you mean {close[0]}?"
    return "" if only_close else f"the settings are {', '.join(known)}"
