from __future__ import annotations

from itertools import product

from trainer.randomness import step_seed


def test_seed_of_a_step_is_another_for_every_step_rank_and_seed():
    seeds = [step_seed(s, step=t, rank=r) for s, t, r in product(range(4), range(500), range(4))]
    assert len(set(seeds)) == len(seeds)


def test_seed_of_a_step_is_one_that_torch_takes():
    assert all(0 <= step_seed(2**31, step=step, rank=7) < 2**63 for step in range(1000))


def test_seed_of_a_step_flips_half_its_bits_when_the_step_is_the_next():
    flips = [
        (step_seed(0, step=step, rank=0) ^ step_seed(0, step=step + 1, rank=0)).bit_count()
        for step in range(1000)
    ]
    assert 30 < sum(flips) / len(flips) < 33  # of 63
