"""The import of torchmetrics, without what only metrics of speech and texts, and plots, need.

Lightning imports torchmetrics, and torchmetrics imports scipy.signal, matplotlib and transformers
where it finds them: a third of the time that `train.py` takes to its first step. Set
TRAINYARD_WHOLE_TORCHMETRICS=1 to have torchmetrics whole, for metrics of one's own.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

NAME = "torchmetrics"
SPARED = frozenset({"matplotlib", "scipy", "transformers"})
VARIABLE = "TRAINYARD_WHOLE_TORCHMETRICS"


def spare() -> None:
    """Have torchmetrics, when it is imported, believe that these packages are not installed."""
    if NAME not in sys.modules and not os.environ.get(VARIABLE):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds torchmetrics once, and goes."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != NAME:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Runs the package's code as its own loader does."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with _sparing():
            self._loader.exec_module(module)


@contextmanager
def _sparing() -> Iterator[None]:
    """The two ways in which torchmetrics looks for a package find none of these."""
    from lightning_utilities.core import imports
    from packaging.requirements import Requirement

    cache, available = imports.RequirementCache, imports.package_available

    class SparingCache(cache):  # type: ignore[misc, valid-type]
        def __bool__(self) -> bool:
            name = Requirement(self.requirement).name if self.requirement else ""
            return name not in SPARED and super().__bool__()

    imports.RequirementCache = SparingCache  # type: ignore[misc]
    imports.package_available = lambda name: name not in SPARED and available(name)  # type: ignore[assignment]
    try:
        yield
    finally:
        imports.RequirementCache, imports.package_available = cache, available  # type: ignore[misc]
