"""How long a pause is waited out, and what changes that."""

from __future__ import annotations

import pytest

from serving.lull import LEAST, PATIENCE, Lull


def wait_in_vain(lull: Lull, times: int) -> None:
    for _ in range(times):
        lull.in_vain()


def test_a_lull_is_as_long_as_it_may_be_until_it_was_waited_out_in_vain_often_enough():
    lull = Lull(0.008)
    wait_in_vain(lull, PATIENCE - 1)
    assert lull.seconds == 0.008
    lull.in_vain()
    assert lull.seconds == 0.004


def test_a_lull_does_not_fall_below_its_share_of_the_longest():
    lull = Lull(0.016)
    wait_in_vain(lull, 20 * PATIENCE)
    assert lull.seconds == pytest.approx(0.016 * LEAST)


def test_whoever_comes_late_in_a_lull_doubles_it_up_to_the_longest():
    lull = Lull(0.008)
    wait_in_vain(lull, 2 * PATIENCE)
    lull.met(0.0015)
    assert lull.seconds == 0.004
    for _ in range(5):
        lull.met(0.007)
    assert lull.seconds == 0.008


def test_company_that_comes_at_once_leaves_a_lull_as_it_is_but_was_not_waited_for_in_vain():
    lull = Lull(0.008)
    wait_in_vain(lull, PATIENCE - 1)
    lull.met(0.001)
    lull.in_vain()
    assert lull.seconds == 0.008


def test_no_delay_is_no_lull():
    lull = Lull(0.0)
    wait_in_vain(lull, 2 * PATIENCE)
    lull.met(1.0)
    assert lull.seconds == 0.0
