"""The search space: overrides with several values, in Hydra's grammar, as distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    IntervalSweep,
    QuotedString,
    RangeSweep,
    Sweep,
    Transformer,
)
from hydra.errors import HydraException
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from trainer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override
    from optuna.trial import Trial

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution
_TAGS = {"log", "int", "float"}
_LARGEST_GRID = 10_000


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One field that is varied."""

    key: str
    """The field or config group, as on the command line."""
    distribution: Distribution
    texts: tuple[str, ...] = ()
    """How each choice is written on the command line; empty for numbers."""

    def override(self, value: Any) -> str:
        """The command line's word for this value."""
        if isinstance(self.distribution, CategoricalDistribution):
            index = int(self.distribution.to_internal_repr(value))
            return f"{self.key}={self.texts[index]}"
        return f"{self.key}={value!r}"

    def suggest(self, trial: Trial) -> Any:
        """The trial's value: what it was given before, else what the sampler chooses."""
        kind = self.distribution
        if isinstance(kind, CategoricalDistribution):
            return trial.suggest_categorical(self.key, kind.choices)
        if isinstance(kind, IntDistribution):
            return trial.suggest_int(self.key, kind.low, kind.high, step=kind.step, log=kind.log)
        return trial.suggest_float(self.key, kind.low, kind.high, step=kind.step, log=kind.log)

    def example(self) -> Any:
        """A value that is surely in it."""
        if isinstance(self.distribution, CategoricalDistribution):
            return self.distribution.choices[0]
        return self.distribution.low

    def values(self) -> list[Any]:
        """All values, for a grid. Raises ConfigError if there is no end of them."""
        if isinstance(self.distribution, CategoricalDistribution):
            return list(self.distribution.choices)
        low, high, step = self.distribution.low, self.distribution.high, self.distribution.step
        if step is None:
            raise ConfigError(
                f"{self.key}: sweep/sampler=grid cannot take all values of an interval",
                field=self.key,
                remedy="use choice(…) or range(…), or another sampler",
            )
        return [low + number * step for number in range(round((high - low) / step) + 1)]


@dataclass(frozen=True, kw_only=True)
class Space:
    """All fields that are varied, and the overrides that every trial has."""

    dimensions: tuple[Dimension, ...]
    fixed: tuple[str, ...]

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """The trial's values by field."""
        return {dimension.key: dimension.suggest(trial) for dimension in self.dimensions}

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The command line of the trial with these values."""
        return [*self.fixed, *self.varied(params)]

    def varied(self, params: Mapping[str, Any]) -> list[str]:
        """Only what the other trials have differently."""
        return [dimension.override(params[dimension.key]) for dimension in self.dimensions]

    def example(self) -> dict[str, Any]:
        """Values that are surely in the space."""
        return {dimension.key: dimension.example() for dimension in self.dimensions}

    def grid(self) -> dict[str, list[Any]]:
        """All values of every field. Raises ConfigError if there are too many combinations."""
        grid = {dimension.key: dimension.values() for dimension in self.dimensions}
        size = math.prod(map(len, grid.values()))
        if size > _LARGEST_GRID:
            raise ConfigError(
                f"sweep.space: {size} combinations are more than {_LARGEST_GRID}",
                field="sweep.space",
                remedy="use another sampler, such as sweep/sampler=qmc",
            )
        return grid

    def to_dict(self) -> dict[str, str]:
        """Field → distribution; two spaces are the same if these are."""
        return {
            dimension.key: distribution_to_json(dimension.distribution)
            for dimension in self.dimensions
        }


def parse_space(
    arguments: Sequence[str], configured: Mapping[str, str], *, loader: ConfigLoader | None = None
) -> Space:
    """The space of the command line's `arguments` and of `sweep.space`; the former win.

    `loader` knows the options that `glob(…)` is about. Raises ConfigError.
    """
    parser = OverridesParser.create(config_loader=loader)
    given = parser.parse_overrides(list(arguments))
    named = {override.get_key_element().lstrip("+~") for override in given}
    try:
        own = parser.parse_overrides(
            [f"{key}={text}" for key, text in configured.items() if key.lstrip("+") not in named]
        )
    except HydraException as error:
        raise ConfigError(f"sweep.space: {error}", field="sweep.space") from error
    dimensions: dict[str, Dimension] = {}
    fixed = []
    for override in [*own, *given]:
        key = override.get_key_element()
        if not override.is_sweep_override():
            fixed.append(override.input_line or "")
        elif key.startswith(("sweep.", "sweep/", "hydra.", "hydra/")):
            raise ConfigError(f"{key}: belongs to the sweep itself and has one value", field=key)
        else:
            dimensions[key] = _dimension(override)
    if not dimensions:
        raise ConfigError(
            "sweep.space: nothing is varied",
            field="sweep.space",
            remedy="say what is, such as 'optim.lr=tag(log, interval(1e-4, 1e-1))'",
        )
    return Space(dimensions=tuple(dimensions.values()), fixed=tuple(fixed))


def _dimension(override: Override) -> Dimension:
    key, sweep = override.get_key_element(), override.value()
    tags = set(sweep.tags) if isinstance(sweep, Sweep) else set()
    if unknown := sorted(tags - _TAGS):
        raise ConfigError(
            f"{key}: there is no tag {', '.join(unknown)}; known: {', '.join(sorted(_TAGS))}",
            field=key,
        )
    try:
        if isinstance(sweep, IntervalSweep):
            return Dimension(key=key, distribution=_interval(sweep, tags))
        if isinstance(sweep, RangeSweep):
            return Dimension(key=key, distribution=_range(sweep, tags))
        return _choice(override)
    except ValueError as error:
        raise ConfigError(f"{override.input_line}: {error}", field=key) from error


def _interval(sweep: IntervalSweep, tags: set[str]) -> Distribution:
    low, high = sweep.start, sweep.end
    if low is None or high is None:
        raise ValueError("an interval has two ends")
    whole = "int" in tags or (isinstance(low, int) and isinstance(high, int))
    if whole and "float" not in tags:
        return IntDistribution(int(low), int(high), log="log" in tags)
    return FloatDistribution(float(low), float(high), log="log" in tags)


def _range(sweep: RangeSweep, tags: set[str]) -> Distribution:
    values = sorted(sweep.range())
    if not values:
        raise ValueError("the range is empty")
    step = abs(sweep.step)
    if all(isinstance(value, int) for value in values):
        return IntDistribution(values[0], values[-1], step=int(step), log="log" in tags)
    if "log" in tags:
        raise ValueError("a range of fractions cannot be logarithmic; use interval(…)")
    return FloatDistribution(values[0], values[-1], step=float(step))


def _choice(override: Override) -> Dimension:
    items: list[Any] = list(override.sweep_iterator())
    texts = [str(Transformer.str(item)) for item in items]
    natural: list[Any] = [item.text if isinstance(item, QuotedString) else item for item in items]
    plain = all(item is None or isinstance(item, str | int | float) for item in natural)
    # 1, 1.0 and true are one choice to Optuna; lists are none at all.
    choices = natural if plain and len(set(natural)) == len(natural) else texts
    if not choices or len(set(choices)) < len(choices):
        raise ValueError("choices must be there, and each of them once")
    return Dimension(
        key=override.get_key_element(),
        distribution=CategoricalDistribution(choices),
        texts=tuple(texts),
    )
