from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.sampler import EpochSampler, EvalSampler

sizes = st.integers(1, 200)


def batches(sampler) -> list[list[int]]:
    return [batch.indices.tolist() for batch in sampler]


@given(sizes, st.integers(1, 40), st.integers(0, 10), st.integers(0, 5))
def test_epoch_holds_no_sample_twice_when_the_last_batch_is_dropped(size, batch_size, seed, epoch):
    sampler = EpochSampler(size, batch_size=batch_size, seed=seed)
    sampler.set_epoch(epoch)

    found = batches(sampler)

    assert len(found) == len(sampler) == max(1, size // batch_size)
    assert all(len(batch) == batch_size for batch in found)
    flat = list(chain(*found))
    assert set(flat) <= set(range(size))
    if size >= batch_size:
        assert len(set(flat)) == len(flat)
    else:
        assert set(flat) == set(range(size))


@given(sizes, st.integers(1, 40))
def test_epoch_holds_every_sample_when_the_last_batch_is_filled(size, batch_size):
    found = batches(EpochSampler(size, batch_size=batch_size, seed=0, last_batch="fill"))

    assert all(len(batch) == batch_size for batch in found)
    flat = list(chain(*found))
    assert set(flat) == set(range(size))
    assert len(flat) - size < batch_size


def test_order_is_a_function_of_seed_and_epoch_alone():
    def order(seed, epoch):
        return EpochSampler(50, batch_size=5, seed=seed).order(epoch).tolist()

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_order_is_what_it_was():
    """A new value here makes every run that was cut short resume differently."""
    assert EpochSampler(8, batch_size=4, seed=1).order(2).tolist() == [7, 6, 3, 4, 0, 1, 2, 5]


@given(sizes, st.integers(1, 20), st.integers(0, 30), st.sampled_from(["drop", "fill"]))
def test_iteration_goes_on_where_it_is_told_to(size, batch_size, start, last_batch):
    sampler = EpochSampler(size, batch_size=batch_size, seed=3, last_batch=last_batch)
    sampler.set_epoch(4)
    whole = batches(sampler)

    sampler.start_at(start)

    assert batches(sampler) == whole[start:]
    assert batches(sampler) == whole, "the place is used once"
    assert len(sampler) == len(whole)


def test_set_epoch_forgets_the_place_unless_it_is_the_same_epoch():
    sampler = EpochSampler(20, batch_size=5, seed=0)
    sampler.set_epoch(3)
    sampler.start_at(2)
    sampler.set_epoch(3)
    assert len(batches(sampler)) == 2
    sampler.start_at(2)
    sampler.set_epoch(4)
    assert len(batches(sampler)) == 4


def test_batches_carry_their_epoch():
    sampler = EpochSampler(20, batch_size=5, seed=0)
    sampler.set_epoch(7)
    assert {batch.epoch for batch in sampler} == {7}


def test_sampler_shows_itself_where_lightning_looks_for_set_epoch():
    from torch.utils.data import DataLoader

    sampler = EpochSampler(4, batch_size=2, seed=0)
    loader = DataLoader([0, 1, 2, 3], batch_sampler=sampler)
    assert loader.batch_sampler.sampler is sampler


def test_order_is_plain_when_nothing_is_shuffled():
    sampler = EpochSampler(6, batch_size=2, seed=0, shuffle=False)
    sampler.set_epoch(5)
    assert batches(sampler) == [[0, 1], [2, 3], [4, 5]]


def test_oversampling_shows_every_class_equally_often_and_every_sample():
    labels = np.array([0] * 10 + [1] * 3 + [2] * 1)
    sampler = EpochSampler(14, batch_size=5, seed=0, labels=labels)

    order = sampler.order(0)

    assert np.bincount(labels[order]).tolist() == [10, 10, 10]
    assert set(order.tolist()) == set(range(14))
    assert np.bincount(order)[10:13].max() - np.bincount(order)[10:13].min() <= 1
    assert len(sampler) == 6
    assert order.tolist() == sampler.order(0).tolist() != sampler.order(1).tolist()


def test_sampler_refuses_what_cannot_be_shared():
    with pytest.raises(ValueError, match="no multiple of world_size=3"):
        EpochSampler(10, batch_size=4, seed=0, world_size=3)
    with pytest.raises(ValueError, match="at least one sample"):
        EpochSampler(0, batch_size=4, seed=0)


@given(st.integers(0, 100), st.integers(1, 20), st.integers(1, 5))
def test_evaluation_shows_every_sample_once_whatever_the_number_of_processes(size, batch, world):
    samplers = [
        EvalSampler(size, batch_size=batch, rank=rank, world_size=world) for rank in range(world)
    ]
    found = [list(sampler) for sampler in samplers]

    counted = [b.indices.tolist() for part in found for b in part if b.counts]
    assert sorted(chain(*counted)) == list(range(size))
    assert [len(part) for part in found] == [len(sampler) for sampler in samplers]
    assert all(part and all(len(b.indices) > 0 for b in part) for part in found)
    assert all(len(part) == 1 for part in found if not part[0].counts)
