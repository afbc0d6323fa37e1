"""Data files that come inside an installed package, found without importing it."""

from __future__ import annotations

from importlib.machinery import PathFinder
from pathlib import Path

from trainer.errors import DataError


def packaged_path(package: str, *parts: str, where: str, install: str | None = None) -> Path:
    """The file or folder `parts` inside `package`. Raises DataError, beginning with `where`.

    `install` is what to give pip, if that is not the package's name.
    """
    remedy = f"pip install {install or package}"
    spec = PathFinder.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"{where}: the package {package}, which holds the data, is not installed",
            field="data",
            remedy=remedy,
        )
    path = Path(next(iter(spec.submodule_search_locations)), *parts)
    if not path.exists():
        raise DataError(
            f"{where}: the package {package} is installed, but does not hold {'/'.join(parts)}",
            field="data",
            remedy=remedy,
        )
    return path
