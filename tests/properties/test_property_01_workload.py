"""The work of a step is split over all processes: every sample goes to exactly one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.sampler import EpochSampler, EvalSampler


@given(
    size=st.integers(1, 300),
    share=st.integers(1, 16),
    world_size=st.integers(1, 8),
    epoch=st.integers(0, 3),
)
def test_property_01_training_batches_are_shared_out_whatever_the_number_of_processes(
    size: int, share: int, world_size: int, epoch: int
) -> None:
    def batches(rank: int, of: int) -> list[np.ndarray]:
        sampler = EpochSampler(
            size, batch_size=share * world_size, seed=1, rank=rank, world_size=of
        )
        sampler.set_epoch(epoch)
        return [batch.indices for batch in sampler]

    whole = batches(0, 1)
    parts = [batches(rank, world_size) for rank in range(world_size)]
    for number, batch in enumerate(whole):
        shares = [part[number] for part in parts]
        assert {len(own) for own in shares} == {share}
        np.testing.assert_array_equal(np.sort(np.concatenate(shares)), np.sort(batch))


@given(size=st.integers(1, 300), batch_size=st.integers(1, 40), world_size=st.integers(1, 8))
def test_property_01_evaluation_counts_every_sample_once_when_nothing_divides(
    size: int, batch_size: int, world_size: int
) -> None:
    seen = [
        batch.indices
        for rank in range(world_size)
        for batch in EvalSampler(size, batch_size=batch_size, rank=rank, world_size=world_size)
        if batch.counts
    ]
    assert sorted(np.concatenate(seen).tolist()) == list(range(size))
