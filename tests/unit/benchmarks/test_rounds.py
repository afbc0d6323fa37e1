from __future__ import annotations

import pytest

from benchmarks.rounds import brackets, interval, ratio, take_turns


def test_sides_take_turns_the_other_way_round_in_every_second_round():
    called: list[str] = []
    found = take_turns(
        {name: lambda name=name: called.append(name) or len(called) for name in ("a", "b")},
        rounds=2,
    )
    assert called == ["a", "b", "b", "a"]
    assert found == {"a": [1, 4], "b": [2, 3]}


def test_ratio_is_taken_round_by_round():
    assert ratio([2.0, 20.0, 200.0], [1.0, 10.0, 100.0]).median == 2.0


def test_interval_holds_the_median_and_no_more_than_the_values():
    found = interval([1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 100.0])
    assert found.median == 3.0
    assert 1.0 <= found.low < 3.0 < found.high < 100.0


def test_few_rounds_have_a_lowest_and_a_highest():
    found = interval([3.0, 1.0, 2.0, 9.0, 4.0])
    assert (found.median, found.low, found.high) == (3.0, 1.0, 9.0)
    assert [brackets(rounds) for rounds in (5, 6)] == ["lowest and highest", "95 % interval"]


def test_one_round_has_no_interval():
    found = interval([2.0])
    assert (found.median, found.low, found.high) == (2.0, None, None)
    assert found.shown("{:.1f}".format) == "2.0"
    assert interval([2.0, 2.0]).shown("{:.1f}".format) == "2.0 [2.0, 2.0]"


def test_ratio_refuses_rounds_that_one_side_missed():
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])
