"""The request: what the user asked for, looked at before any work is done."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.archive import check_free, open_bundle
from bundle.errors import BundleError, ManifestError, RequestError
from bundle.model_name import check_model_name
from optimize.folders import REPORT, check_writable
from optimize.passes.export import Lane
from optimize.schema import Exporter, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optimize.recipe import Recipe
    from optimize.schema import ExportConfig, OptimizeConfig
    from optimize.target import ResolvedTarget

BUNDLES = Path("outputs/bundles")
TAKEN = "choose another folder, or add overwrite=true"
"""The remedy where a folder holds something else."""


def checked_name(name: str, *, field: str) -> str:
    """Raises RequestError unless it can name a model."""
    try:
        return check_model_name(name, field=field)
    except ManifestError as error:
        raise RequestError(str(error), field=field, remedy=error.remedy) from error


def registered_name(config: ExportConfig) -> str | None:
    """None: do not register; empty: under the model's own name."""
    wanted = config.register
    if isinstance(wanted, str):
        return checked_name(wanted, field="register")
    return "" if wanted else None


def cache_folder(settings: OptimizeConfig) -> Path | None:
    """None keeps nothing. Raises RequestError for a name that is none, and where it cannot be
    written.
    """
    folder = settings.cache.folder
    if folder is None:
        return None
    if not folder.strip():
        raise RequestError(
            "optimize.cache.folder is empty",
            field="optimize.cache.folder",
            remedy="name a folder, or use optimize.cache.folder=null to keep nothing",
        )
    check_writable(
        Path(folder),
        field="optimize.cache.folder",
        value=folder,
        remedy="name another folder, or use optimize.cache.folder=null to keep nothing",
    )
    return Path(folder)


def given_output(config: ExportConfig) -> Path | None:
    """The folder that was asked for; None: one that is named for the model. Raises RequestError
    where no bundle can be written.
    """
    if config.output is None:
        return None
    if not config.output.strip():
        raise RequestError(
            "output is empty",
            field="output",
            remedy=f"name a folder, or use output=null for one in {BUNDLES}",
        )
    return _writable_output(Path(config.output), config)


def _writable_output(output: Path, config: ExportConfig) -> Path:
    """A bundle gets its name in the folder around it, and its report is written beside it. It may
    not be a folder that the cache fills meanwhile.
    """
    place = Path(os.path.realpath(output))
    if not place.name:
        raise RequestError(
            f"output={output} cannot be a bundle's folder",
            field="output",
            remedy="choose another folder",
        )
    cache = config.optimize.cache.folder
    if cache is not None and Path(os.path.realpath(cache)).is_relative_to(place):
        raise RequestError(
            f"output={output} holds the cache, optimize.cache.folder={cache}",
            field="output",
            remedy="choose another folder",
        )
    check_writable(place.parent, field="output", value=output)
    if config.target is not Target.none:
        check_writable(place.with_name(place.name + REPORT), field="output", value=output)
    if output.exists() and not output.is_dir():
        raise RequestError(
            f"output={output} exists and is not a folder",
            field="output",
            remedy="choose another folder",
        )
    return output


def free_output(config: ExportConfig, name: str, *, checkpoint_sha256: str) -> Path:
    """Where the bundle goes; looked at again when it is written. Raises RequestError.

    A bundle of this checkpoint may lie there: it can be what this very command made before it was
    killed, which only the finished bundle shows.
    """
    output = given_output(config)
    if output is None:
        output = _writable_output(BUNDLES / f"{name}-{checkpoint_sha256[:8]}", config)
    if config.overwrite:
        check_free(output, overwrite=True)
    elif (
        output.exists() and any(output.iterdir()) and not _made_of(output, name, checkpoint_sha256)
    ):
        raise RequestError(f"output={output} exists already", field="output", remedy=TAKEN)
    return output


def _made_of(folder: Path, name: str, checkpoint_sha256: str) -> bool:
    """Whether a whole bundle of that name and checkpoint lies there."""
    try:
        manifest = open_bundle(folder).manifest
    except (BundleError, RequestError):
        return False
    origin = manifest.lineage.get("checkpoint")
    return (
        manifest.name == name
        and isinstance(origin, dict)
        and origin.get("sha256") == checkpoint_sha256
    )


def check_length(settings: OptimizeConfig, max_length: int | None) -> None:
    """Of what is timed. `max_length`: the longest text that the model takes, None for images.

    Raises RequestError.
    """
    bench = settings.benchmark
    if bench.length is None or not bench.enabled:
        return
    field = "optimize.benchmark.length"
    if max_length is None:
        raise RequestError(
            f"{field}={bench.length}: the model takes no texts", field=field, remedy="leave it out"
        )
    if bench.length > max_length:
        raise RequestError(
            f"{field}={bench.length}: the model takes no more than {max_length} tokens",
            field=field,
            remedy=f"use {max_length} or fewer",
        )


def chosen_recipes(
    suitable: Sequence[Recipe], settings: OptimizeConfig, *, target: ResolvedTarget
) -> list[Recipe]:
    """Those that suit the target, or of them those that were asked for, of the graph that the
    exporter writes that was asked for. Raises RequestError.
    """
    if settings.exporter is not Exporter.auto:
        lane = Lane(settings.exporter.value)
        suitable = [replace(recipe, lane=lane) for recipe in suitable]
    wanted = settings.recipes
    if wanted is None:
        return list(suitable)
    twice = [name for name in wanted if wanted.count(name) > 1]
    if twice:
        raise RequestError(
            f"optimize.recipes={list(wanted)} names {twice[0]!r} more than once",
            field="optimize.recipes",
            remedy="name each recipe once",
        )
    names = [recipe.name for recipe in suitable]
    unknown = [name for name in wanted if name not in names]
    if unknown and not names:
        raise RequestError(
            f"optimize.recipes={list(wanted)}: target={target.actual} makes fp32 alone",
            field="optimize.recipes",
            remedy="leave them out, or choose another target",
        )
    if unknown:
        raise RequestError(
            f"optimize.recipes={list(wanted)}: there is no recipe {unknown[0]!r} for "
            f"target={target.actual}",
            field="optimize.recipes",
            remedy=f"choose among {', '.join(names)}",
        )
    return [recipe for recipe in suitable if recipe.name in wanted]
