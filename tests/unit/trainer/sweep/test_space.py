from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from trainer.errors import ConfigError
from trainer.sweep.space import parse_space


def distribution(text: str) -> object:
    return parse_space([f"x={text}"], {}).dimensions[0].distribution


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(0, 1)", FloatDistribution(0, 1)),
        ("tag(log, interval(1e-4, 1e-1))", FloatDistribution(1e-4, 1e-1, log=True)),
        ("int(interval(1, 8))", IntDistribution(1, 8)),
        ("tag(int, log, interval(1, 64))", IntDistribution(1, 64, log=True)),
        ("range(1, 9, 2)", IntDistribution(1, 7, step=2)),
        ("range(0.0, 0.75, 0.25)", FloatDistribution(0, 0.5, step=0.25)),
        ("choice(a, b)", CategoricalDistribution(["a", "b"])),
        ("1,2,3", CategoricalDistribution([1, 2, 3])),
        ("null,true,0.5", CategoricalDistribution([None, True, 0.5])),
        ("choice([64], [32, 16])", CategoricalDistribution(["[64]", "[32,16]"])),
    ],
)
def test_space_is_the_distribution_that_hydras_grammar_says(text: str, expected: object) -> None:
    assert distribution(text) == expected


def test_space_keeps_fixed_overrides_and_writes_values_as_hydra_reads_them() -> None:
    space = parse_space(["model=mlp", "x=choice([64],[32,16])", "y='a b',c"], {})
    assert space.overrides({"x": "[32,16]", "y": "a b"}) == ["model=mlp", "x=[32,16]", "y='a b'"]


@given(st.floats(min_value=1e-12, max_value=1e12))
def test_space_writes_numbers_that_read_back_the_same(value: float) -> None:
    space = parse_space(["x=interval(1e-12, 1e12)"], {})
    (word,) = space.overrides({"x": value})
    assert float(word.removeprefix("x=")) == value


def test_space_prefers_the_command_line_when_yaml_has_the_field_too() -> None:
    space = parse_space(["a=1", "b=interval(0,1)"], {"a": "choice(1,2)", "b": "choice(3,4)"})
    assert [d.distribution for d in space.dimensions] == [FloatDistribution(0, 1)]
    assert space.fixed == ("a=1",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing is varied"),
        (["x=tag(ordered, choice(1,2))"], "there is no tag ordered"),
        (["x=interval(2, 1)"], "low <= high"),
        (["x=tag(log, interval(0, 1))"], "low > 0"),
        (["x=choice(1,1)"], "each of them once"),
        (["sweep.trials=1,2"], "sweep.trials: belongs to the sweep itself"),
    ],
)
def test_space_refuses_and_says_why_when_it_makes_no_sense(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_space(arguments, {})


def test_space_names_the_field_when_its_yaml_cannot_be_read() -> None:
    with pytest.raises(ConfigError, match=r"sweep\.space"):
        parse_space([], {"x": "choice(1,"})


def test_grid_has_every_value_and_refuses_intervals() -> None:
    assert parse_space(["x=range(1,9,2)", "y=a,b"], {}).grid() == {
        "x": [1, 3, 5, 7],
        "y": ["a", "b"],
    }
    with pytest.raises(ConfigError, match="cannot take all values of an interval"):
        parse_space(["x=interval(0,1)"], {}).grid()
    with pytest.raises(ConfigError, match="combinations"):
        parse_space([f"{name}=range(0,100)" for name in "abc"], {}).grid()
