"""Who answers, by the registry's routing of a model."""

from __future__ import annotations

import pytest

from bundle.registry.routing import Routing


def champion(number, **split):
    return Routing(champion=number, split={int(key[1:]): share for key, share in split.items()})


def test_traffic_is_the_champions_unless_it_is_split():
    assert Routing().shares == {}
    assert champion(3).shares == {3: 100.0}
    assert champion(3, v1=100).shares == {1: 100}
    assert champion(3, v1=60, v2=40).versions == {1, 2, 3}
    assert champion(3, v3=100).traffic == champion(3)


@pytest.mark.parametrize(
    ("before", "number", "after"),
    [
        (champion(1, v1=90, v2=10), 2, champion(1)),
        (champion(1, v1=60, v2=30, v3=10), 3, champion(1, v1=70, v2=30)),
        (champion(1, v2=50, v3=50), 3, champion(1, v2=100)),
        (champion(1, v2=33.33, v3=33.33, v4=33.34), 4, champion(1, v2=66.67, v3=33.33)),
        (champion(1, v1=90, v2=10), 1, None),
        (champion(1, v2=50, v3=50), 2, None),
        (champion(1, v1=90, v2=10), 3, None),
        (champion(1), 1, None),
        (Routing(), 1, None),
    ],
)
def test_what_is_withdrawn_goes_to_the_version_that_the_others_are_compared_with(
    before, number, after
):
    assert before.without(number) == after
