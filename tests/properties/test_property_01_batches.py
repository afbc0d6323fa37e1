"""Property 1, for data: N processes share out exactly the batches that one process would take."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trainer.data.making import image_module, picture, text_module, write_images
from trainer.data.image_module import ImageDataModule
from trainer.data.sampler import EpochSampler, EvalSampler
from trainer.data.sources.image_folder import ImageFolderSource

worlds = st.sampled_from([1, 2, 3, 4, 8])
shares = st.integers(1, 6)


@given(st.data())
def test_property_01_training_batches_of_all_processes_are_those_of_one(data):
    world, size, share = (data.draw(numbers) for numbers in (worlds, st.integers(1, 200), shares))
    epoch = data.draw(st.integers(0, 5))
    options = {
        "batch_size": share * world,
        "seed": data.draw(st.integers(0, 5)),
        "last_batch": data.draw(st.sampled_from(["drop", "fill"])),
        "labels": data.draw(st.sampled_from([None, np.arange(size) % 3])),
    }
    one = EpochSampler(size, **options)
    many = [EpochSampler(size, rank=rank, world_size=world, **options) for rank in range(world)]
    for sampler in (one, *many):
        sampler.set_epoch(epoch)

    alone, together = list(one), list(zip(*many, strict=True))

    assert len(alone) == len(together)
    for whole, pieces in zip(alone, together, strict=True):
        assert all(len(piece.indices) == share for piece in pieces)
        joined = np.concatenate([piece.indices for piece in pieces])
        assert sorted(joined) == sorted(whole.indices)


@given(worlds, st.integers(0, 200), st.integers(1, 40))
def test_property_01_evaluation_samples_are_shared_out_without_repeats(world, size, batch_size):
    seen: list[int] = []
    for rank in range(world):
        for batch in EvalSampler(size, batch_size=batch_size, rank=rank, world_size=world):
            seen += batch.indices.tolist() if batch.counts else []
    assert sorted(seen) == list(range(size))


def test_property_01_shares_of_a_batch_hold_the_very_same_tensors():
    for make in (image_module, text_module):
        module = make(batch_size=8)
        module.setup()
        whole = list(module.train_dataloader())
        parts = []
        for rank in range(2):
            module._place = lambda rank=rank: (rank, 2)
            parts.append(list(module.train_dataloader()))
        for batch, *pieces in zip(whole, *parts, strict=True):
            assert torch.equal(batch["label"][0::2], pieces[0]["label"])
            assert torch.equal(batch["label"][1::2], pieces[1]["label"])
            if "image" in batch:
                assert torch.equal(batch["image"][0::2], pieces[0]["image"])
                assert torch.equal(batch["image"][1::2], pieces[1]["image"])


def test_property_01_shares_stay_equal_and_the_very_same_when_images_cannot_be_read(tmp_path):
    root = tmp_path / "photos"
    for start, name in ((0, "a"), (100, "b")):
        write_images(root / name, count=12, start=start)
    for number in (2, 3, 7):
        (root / "a" / f"{number}.png").write_bytes(picture(number, size=(30, 30))[:900])
    source = ImageFolderSource(str(root), on_error="skip")
    sizes = {"height": 4, "width": 4, "val_fraction": 0, "test_fraction": 0}
    module = ImageDataModule(source, batch_size=4, cache_bytes=0, **sizes)
    module.setup()
    whole = list(module.train_dataloader())
    for world in (2, 4):
        parts = []
        for rank in range(world):
            module._place = lambda rank=rank, world=world: (rank, world)
            parts.append(list(module.train_dataloader()))
        for batch, *pieces in zip(whole, *parts, strict=True):
            for rank, piece in enumerate(pieces):
                assert torch.equal(batch["label"][rank::world], piece["label"])
                assert torch.equal(batch["image"][rank::world], piece["image"])
