"""Catalog: the models that an API process may ask workers for, and how many requests need each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bundle.quotation import quoted
from serving.errors import UnknownTargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from serving.served_model import ModelInfo, ModelKey, ServedModel


class Catalog:
    """The models that some worker holds; the first one answers requests that name none."""

    def __init__(self) -> None:
        self._models: dict[ModelKey, ServedModel] = {}
        self._first: dict[str, ServedModel] = {}
        """By name the version that answers where none is named."""
        self._users: Counter[ModelKey] = Counter()
        self.on_unused: Callable[[], None] = _nothing
        """Called when a model that has left is needed by no request any more."""

    def __len__(self) -> int:
        return len(self._models)

    def update(self, models: Iterable[ServedModel]) -> None:
        """These are served from now on, and no others."""
        self._models = {served.info.key: served for served in models}
        self._first = {}
        for served in self._models.values():
            self._first.setdefault(served.info.name, served)

    def infos(self) -> list[ModelInfo]:
        """What is served, in the order of the command line."""
        return [served.info for served in self._models.values()]

    def get(self, key: ModelKey) -> ServedModel | None:
        """None for what is not served."""
        return self._models.get(key)

    def using(self, served: ServedModel) -> Use:
        """While a request needs the model, the workers keep it for this process."""
        return Use(self, served)

    def take(self, key: ModelKey) -> None:
        """One more request needs the model."""
        self._users[key] += 1

    def leave(self, key: ModelKey) -> None:
        """One of them needs it no more."""
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
        if name is None and self._first:
            return next(iter(self._first))
        if name is None or name not in self._first:
            raise UnknownTargetError(
                "there is no model" if name is None else f"there is no model {quoted(name)}",
                code="model_not_found",
                field="model",
                remedy=f"the models are {', '.join(sorted(self._first))}",
            )
        return name

    def find(self, name: str | None, version: str | None) -> ServedModel:
        """The version, or else the first one. Raises UnknownTargetError, naming what there is."""
        found = self.name(name)
        served = self._first[found] if version is None else self._models.get((found, version))
        if served is not None:
            return served
        versions = ", ".join(number for model, number in self._models if model == found)
        raise UnknownTargetError(
            f"the model {found!r} has no version {quoted(version or '')} here",
            code="version_not_found",
            field="version",
            remedy=f"the versions served are {versions}",
        )


class Use:
    """A context, entered for every request: a class, since a generator takes longer."""

    __slots__ = ("_catalog", "_served")

    def __init__(self, catalog: Catalog, served: ServedModel) -> None:
        self._catalog = catalog
        self._served = served

    def __enter__(self) -> ServedModel:
        self._catalog.take(self._served.key)
        return self._served

    def __exit__(self, *_: object) -> None:
        self._catalog.leave(self._served.key)


def _nothing() -> None:
    """Nobody wants to know."""
