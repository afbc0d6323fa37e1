"""Catalog: the models that an API process may ask workers for, and how many requests need each."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from serving.errors import UnknownTargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from serving.served_model import ModelInfo, ModelKey, ServedModel


class Catalog:
    """The models that some worker holds; the first one answers requests that name none."""

    def __init__(self) -> None:
        self._models: dict[ModelKey, ServedModel] = {}
        self._users: Counter[ModelKey] = Counter()
        self.on_unused: Callable[[], None] = _nothing
        """Called when a model that has left is needed by no request any more."""

    def __len__(self) -> int:
        return len(self._models)

    def update(self, models: Iterable[ServedModel]) -> None:
        """These are served from now on, and no others."""
        self._models = {served.info.key: served for served in models}

    def infos(self) -> list[ModelInfo]:
        """What is served, in the order of the command line."""
        return [served.info for served in self._models.values()]

    def get(self, key: ModelKey) -> ServedModel | None:
        """None for what is not served."""
        return self._models.get(key)

    @contextlib.contextmanager
    def using(self, served: ServedModel) -> Iterator[None]:
        """While a request needs the model, the workers keep it for this process."""
        key = served.info.key
        self._users[key] += 1
        try:
            yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                if key not in self._models:
                    self.on_unused()

    def users(self, key: ModelKey) -> int:
        """Number of requests that need the model."""
        return self._users[key]

    def name(self, name: str | None) -> str:
        """The name, or the default model's. Raises UnknownTargetError."""
        names = dict.fromkeys(name for name, _ in self._models)
        if name is None and names:
            return next(iter(names))
        if name is None or name not in names:
            raise UnknownTargetError(
                f"there is no model {name!r}",
                code="model_not_found",
                field="model",
                remedy=f"the models are {', '.join(sorted(names))}",
            )
        return name

    def find(self, name: str | None, version: str | None) -> ServedModel:
        """The version, or else the first one. Raises UnknownTargetError, naming what there is."""
        found = self.name(name)
        candidates = [served for served in self._models.values() if served.info.name == found]
        for served in candidates:
            if version is None or served.info.version == version:
                return served
        versions = ", ".join(served.info.version for served in candidates)
        raise UnknownTargetError(
            f"the model {found!r} has no version {version!r} here",
            code="version_not_found",
            field="version",
            remedy=f"the versions served are {versions}",
        )


def _nothing() -> None:
    """Nobody wants to know."""
