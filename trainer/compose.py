"""From the command line to one validated config: the only file that talks to Hydra's front end."""

from __future__ import annotations

import difflib
import os
import re
import sys
import traceback
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from bundle.command import describe
from bundle.errors import RequestError, TrainyardError
from trainer.errors import ConfigError, TrainerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONF = Path(__file__).resolve().parent.parent / "conf"
HYDRA_VERSION_BASE = "1.3"


def hydra_command(
    config_name: str,
    main: Callable[[DictConfig], Any],
    *,
    schemas: Callable[[], None] | None = None,
) -> Callable[[], None]:
    """Make `main` a command: compose `conf/<config_name>.yaml` with `sys.argv`, then call it.

    `schemas` registers the dataclasses that the config is checked against. With `-m` every job
    runs, and a failed one does not take the others with it; a stopped one does. The returned
    function raises `ConfigError` for a config that cannot be composed, else what `main` raised
    first.
    """

    def command() -> None:
        if schemas is not None:
            schemas()
        failures: list[Exception] = []
        named: list[str] = []
        home = os.getpid()

        def job(cfg: DictConfig) -> Any:
            try:
                _refuse_unknown(cfg)
                return main(cfg)
            except Exception as error:
                failures.append(error)
                if is_sweep():
                    named.append(f"job {HydraConfig.get().job.num}")
                    line = f"error: {named[-1]}: {_described(error)}"
                    print(line, file=sys.stderr)
                if os.getpid() != home:  # a launcher's process: its `failures` are a copy
                    raise
                return None

        # Hydra prints a shortened traceback and exits by itself unless this is set.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        decorate = hydra.main(
            version_base=HYDRA_VERSION_BASE, config_path=str(CONF), config_name=config_name
        )
        try:
            decorate(job)()
        except TrainyardError:  # of a launcher's process, or of a sweeper
            raise
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            # Composing failed: what a job raises is in `failures`.
            raise explain(error) from error
        except OSError as error:
            if not _is_of_hydra(error):
                raise
            raise ConfigError(
                f"{error.filename or 'the run folder'}: cannot be made or written"
                f" ({error.strerror or error})",
                field="hydra.run.dir",
                remedy="name a folder that can be written (hydra.run.dir, of a sweep"
                " hydra.sweep.dir)",
            ) from error
        _raise(failures, named)

    return command


def _is_of_hydra(error: OSError) -> bool:
    """Whether Hydra met it, which makes the folder and writes there before it calls the job."""
    last = traceback.extract_tb(error.__traceback__)[-3:]
    return any(Path(hydra.__file__).parent in Path(frame.filename).parents for frame in last)


def _raise(failures: Sequence[Exception], named: Sequence[str]) -> None:
    """What became of the jobs, if not all went well. `named`: those of a sweep."""
    if named:
        wrong = all(isinstance(error, RequestError) for error in failures)
        kind = ConfigError if wrong else TrainerError
        raise kind(f"{', '.join(named)} of the sweep failed; each reason is named above")
    if failures:
        raise failures[0]


def is_sweep() -> bool:
    """Whether the job that runs now is one of several."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def compose(
    config_name: str = "train",
    overrides: Sequence[str] = (),
    *,
    schemas: Callable[[], None] | None = None,
) -> DictConfig:
    """What `hydra_command` would hand to its `main`, for tests, notebooks and programs."""
    if schemas is not None:
        schemas()
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base=HYDRA_VERSION_BASE):
            cfg = hydra.compose(config_name, overrides=list(overrides))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise explain(error) from error
    _refuse_unknown(cfg)
    return cfg


def run_folder() -> Path:
    """The folder that Hydra made for the job that runs now."""
    return Path(HydraConfig.get().runtime.output_dir)


def explain(error: Exception) -> ConfigError:
    """One line that names the field, the value and what would have been right."""
    root = _omegaconf_cause(error)
    if root is not None:
        field = root.full_key or None
        text = _first_line(str(root.msg or root))
        if isinstance(root, ConfigKeyError | ConfigAttributeError):
            return _unknown_field(root, field)
        if field is not None and field not in text:
            text = f"{field}: {text[:1].lower()}{text[1:]}"
        return ConfigError(text, field=field)
    if isinstance(error, MissingConfigException):
        return _unknown_option(error)
    text = " ".join(str(error).split())
    match = re.match(r"Could not override '([^']+)'\. No match in the defaults list", text)
    if match:
        groups = sorted(path.name for path in CONF.iterdir() if path.is_dir())
        text = f"there is no config group '{match[1]}'; choose one of: {', '.join(groups)}"
        return ConfigError(text, field=match[1])
    if isinstance(error, OverrideParseException):
        field, _, value = str(error.override).partition("=")
        if value and value[0] not in "[{\"'":  # else it is meant as more than plain text
            return ConfigError(
                f"{field}={value} cannot be read",
                field=field,
                remedy=f"quote the value: '{field}=\"{value}\"'",
            )
    return ConfigError(text)


def _omegaconf_cause(error: BaseException | None) -> OmegaConfBaseException | None:
    while error is not None:
        if isinstance(error, OmegaConfBaseException):
            return error
        error = error.__cause__
    return None


def _refuse_unknown(cfg: DictConfig, path: str = "") -> None:
    """Hydra's `+` adds a field also to what a dataclass describes, where nothing would read it.

    What names a `_target_` hands its fields to that constructor, which refuses unknown ones itself.
    """
    kind = OmegaConf.get_type(cfg)
    known = [item.name for item in fields(kind)] if is_dataclass(kind) else []
    checked = bool(known) and "_target_" not in known
    for key in map(str, cfg):
        field = f"{path}{key}"
        if checked and key not in known:
            raise _no_such(field, known)
        if not OmegaConf.is_missing(cfg, key) and not OmegaConf.is_interpolation(cfg, key):
            inner = cfg[key]
            if isinstance(inner, DictConfig):
                _refuse_unknown(inner, f"{field}.")


def _unknown_field(error: OmegaConfBaseException, field: str | None) -> ConfigError:
    """Raised for a key that no dataclass has."""
    known: list[str] = []
    if is_dataclass(error.object_type):
        known = [item.name for item in fields(error.object_type)]
    elif isinstance(error.parent_node, DictConfig):
        known = [str(name) for name in error.parent_node]
    return _no_such(field or str(error.key), known)


def _no_such(field: str, known: Sequence[str]) -> ConfigError:
    """The nearest ones are suggested."""
    prefix, _, key = field.rpartition(".")
    near = [f"{prefix}.{name}".lstrip(".") for name in difflib.get_close_matches(key, known, n=2)]
    remedy = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}"
    return ConfigError(f"{field}: there is no such field", field=field, remedy=remedy)


def _unknown_option(error: MissingConfigException) -> ConfigError:
    """Raised for `model=typo`; lists what `model=` may be."""
    missing = str(error.missing_cfg_file or "")
    group, _, option = missing.removesuffix(".yaml").rpartition("/")
    options = sorted(name for name in error.options or () if not name.startswith("base_"))
    if not options:
        return ConfigError(_first_line(str(error)))
    text = f"{group}={option}: there is no such {group}; choose one of: {', '.join(options)}"
    remedy = "or install the launcher: see docs/sweeps.md" if group == "hydra/launcher" else None
    return ConfigError(text, field=group, remedy=remedy)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "the config cannot be composed"


def _described(error: Exception) -> str:
    return (
        describe(error) if isinstance(error, TrainyardError) else f"{type(error).__name__}: {error}"
    )
