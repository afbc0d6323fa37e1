"""Whether a command could be run as it is written: its options, fields and files exist.

Nothing is run. An override is checked against the config that its groups compose, arguments by the
parser of the command that they are for.
"""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from functools import cache
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from omegaconf import DictConfig, OmegaConf

from bundle.command import CommandParser
from bundle.models_command import _parser as models_parser
from optimize.schema import register_schemas as register_export
from serving.flags import read_command_line
from tests.docs.markdown import ROOT
from trainer.compose import CONF, HYDRA_VERSION_BASE
from trainer.schema import register_schemas as register_train
from trainer.sweep.space import parse_space

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hydra.core.override_parser.types import Override

SEPARATORS = ("|", "||", "&&", ";", "&", ">", ">>", "(", ")")
HARMLESS = ("cd", "export", "source")
KUSTOMIZE = ("-k", "--kustomize", "kustomize")
PLACEHOLDERS = {"NUMBER": "4", "NUMBER=PERCENT": "4=10"}
OF_A_LAUNCHER = ("hydra/launcher", "hydra.launcher.")
"""Launchers are optional packages, and their fields their own."""


class UnknownCommandError(Exception):
    """Nothing here can tell whether such a command is right."""


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a block, each as its words."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if word in SEPARATORS:
                yield from _command(words)
                words = []
            else:
                words.append(word)
        yield from _command(words)


def _command(words: list[str]) -> Iterator[list[str]]:
    while words and re.match(r"^[A-Z_]+=", words[0]):
        words = words[1:]
    if words:
        yield words


def check(words: Sequence[str]) -> None:
    """Raises whatever is wrong with it, or UnknownCommandError."""
    first, *rest = words
    _check_files(rest)
    if first in HARMLESS:
        return
    known = {"python": _check_python, "make": _check_make, "pip": _check_pip}
    if first not in known:
        raise UnknownCommandError(first)
    known[first]([word for word in rest if word != "…"])


def _check_files(words: Sequence[str]) -> None:
    """Whatever they name below deploy/ is there; what kubectl builds has a kustomization."""
    for before, word in zip(["", *words], words, strict=False):
        if named := re.search(r"(?:^|=|file://)(deploy/[\w./-]+)$", word):
            wanted = f"{named[1]}/kustomization.yaml" if before in KUSTOMIZE else named[1]
            assert (ROOT / wanted).exists(), f"{wanted} does not exist"


def _check_python(words: Sequence[str]) -> None:
    first, *rest = words
    if words[:2] == ["-m", "pip"]:
        _check_pip(words[2:])
    elif first in ("train.py", "export.py"):
        check_overrides(first.removesuffix(".py"), rest)
    elif first == "serve.py":
        read_command_line(rest, {})
    elif first == "models.py":
        models_parser().parse_args([PLACEHOLDERS.get(word, word) for word in rest])
    elif first == "-m":
        _parser_in(_file_of_module(rest[0])).parse_args(rest[1:])
    else:
        _parser_in(ROOT / first).parse_args(rest)


def _file_of_module(name: str) -> Path:
    path = ROOT / name.replace(".", "/")
    for file in (path.with_suffix(".py"), path / "command.py", path / "__main__.py"):
        if file.is_file():
            return file
    raise UnknownCommandError(f"python -m {name}")


def _check_make(words: Sequence[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    variables = dict(word.split("=", 1) for word in words if "=" in word)
    unknown = variables.keys() - set(re.findall(r"^([A-Z_]+) \?=", makefile, flags=re.MULTILINE))
    assert not unknown, f"the Makefile has no variable {sorted(unknown)}"
    for target in (word for word in words if "=" not in word):
        rule = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", makefile, flags=re.MULTILINE)
        assert rule is not None, f"the Makefile has no target {target}"
        behind = re.search(r"/python (.+) \$\(ARGS\)", rule[1])
        if "ARGS" in variables and behind and "pytest" not in behind[1]:
            _check_python([*behind[1].split(), *shlex.split(variables["ARGS"])])


def _check_pip(words: Sequence[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extras in re.findall(r"^\.\[(.+)\]$", "\n".join(words), flags=re.MULTILINE):
        unknown = set(extras.split(",")) - project["optional-dependencies"].keys()
        assert not unknown, f"pyproject.toml has no extra {sorted(unknown)}"


def _parser_in(path: Path) -> CommandParser:
    """The parser that the file makes, without running it, which would load torch."""
    parser = CommandParser(prog=path.name)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            names = [ast.literal_eval(name) for name in node.args]
            options = {
                option.arg: option.value.value
                for option in node.keywords
                if option.arg in ("nargs", "action") and isinstance(option.value, ast.Constant)
            }
            parser.add_argument(*names, **options)
    return parser


def check_overrides(config: str, words: Sequence[str]) -> None:
    """Raises for a group, an option or a field that there is not, or a value of a wrong type."""
    asked = get_args_parser().parse_args(list(words))
    overrides = [
        override
        for override in OverridesParser.create().parse_overrides(asked.overrides)
        if not override.key_or_group.startswith(OF_A_LAUNCHER)
    ]
    if any(override.is_sweep_override() for override in overrides):
        assert asked.multirun, f"{' '.join(words)}: several values, but no -m"
    groups = [override for override in overrides if (CONF / override.key_or_group).is_dir()]
    study = any(group.key_or_group == "sweep" for group in groups)
    if study and any(override.is_sweep_override() for override in overrides):
        parse_space(asked.overrides, {})
    choices = [[(group.key_or_group, value) for value in _values(group)] for group in groups]
    for turn in range(max(map(len, choices), default=1)):
        chosen = tuple("=".join(choice[turn % len(choice)]) for choice in choices)
        cfg = composed(config, chosen)
        for override in overrides:
            for value in [] if override in groups else _values(override):
                _set(cfg, override, value)


def _values(override: Override) -> list[Any]:
    """All that it may be; of an interval one end."""
    if override.is_interval_sweep():
        return [override.value().start]
    values = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
    return [value.text if isinstance(value, QuotedString) else value for value in values]


@cache
def composed(config: str, groups: tuple[str, ...]) -> DictConfig:
    register_train()
    register_export()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base=HYDRA_VERSION_BASE):
        return hydra.compose(config, overrides=list(groups), return_hydra_config=True)


def _set(cfg: DictConfig, override: Override, value: Any) -> None:
    cfg = cfg.copy()
    OmegaConf.set_readonly(cfg, False)
    added = override.is_add() or override.is_force_add()
    OmegaConf.update(cfg, override.key_or_group, value, force_add=added)


def words_of_inline(text: str) -> list[str] | None:
    """The words of a quoted command; None if it is the pattern of one, or no command of ours."""
    if not re.match(r"^(python|make|pip) [a-z.-]", text) or re.search(r" \[|\]\[|\\?\|", text):
        return None
    return next(commands(text.replace("…", " … ")), None)
