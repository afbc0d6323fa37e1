from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unit.trainer.data.making import MemorySource, image_module, text_module
from trainer.data.image_module import ImageDataModule
from trainer.errors import DataError


def test_module_describes_its_data():
    module = image_module()
    module.setup()

    assert module.labels == ("0", "1", "2", "3")
    assert module.num_classes == 4
    assert module.task == "image-classification"
    assert module.describe() == {
        "fingerprint": module.fingerprint,
        "classes": ["0", "1", "2", "3"],
        "samples": {"train": 32, "val": 4, "test": 4},
        "duplicates": 0,
        "skipped": 0,
    }


def test_module_says_so_when_it_was_not_set_up():
    with pytest.raises(RuntimeError, match="setup"):
        _ = image_module().labels
    with pytest.raises(RuntimeError, match="setup"):
        _ = image_module().preprocessor


def test_setup_happens_once():
    module = image_module()
    module.setup("fit")
    prepared = module.prepared
    module.setup("test")
    assert module.prepared is prepared


def test_splits_do_not_depend_on_the_seed_of_the_run():
    modules = [image_module(seed=0), image_module(seed=1), image_module(split_seed=1)]
    for module in modules:
        module.setup()
    fingerprints = [module.fingerprint for module in modules]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_order_and_augmentation_depend_on_the_seed_of_the_run():
    batches = []
    for seed in (0, 0, 1):
        module = image_module(seed=seed)
        module.setup()
        batches.append(next(iter(module.train_dataloader()))["image"])
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])


def test_fingerprint_changes_with_one_pixel():
    one, other = image_module(), image_module()
    other._source.corpus.raw[0][0, 0] ^= 1
    one.setup()
    other.setup()
    assert one.fingerprint != other.fingerprint


def test_samples_are_the_raw_ones_of_a_split():
    module = image_module()
    module.setup()
    samples = module.samples("test")
    assert len(samples) == len(samples.raw) == 4
    index = module.splits.test[2]
    assert np.array_equal(samples.raw[2], module._source.corpus.raw[index])
    assert samples.labels[2] == module._source.corpus.labels[index]
    assert len(samples.raw[1:3]) == 2


def test_loaders_are_empty_lists_when_there_is_nothing_held_out():
    module = image_module(val_fraction=0.0, test_fraction=0.0)
    module.setup()
    assert module.val_dataloader() == []
    assert module.test_dataloader() == []


def test_evaluation_batches_have_their_own_size_and_no_augmentation():
    module = image_module(val_fraction=0.3, eval_batch_size=5)
    module.setup()
    batches = list(module.val_dataloader())
    assert [len(batch["label"]) for batch in batches] == [5, 5, 2]
    expected = np.stack([module.preprocessor(raw)["image"] for raw in module.samples("val").raw])
    assert np.array_equal(torch.cat([batch["image"] for batch in batches]).numpy(), expected)


def test_class_weights_are_one_on_average_and_larger_for_rarer_classes():
    rng = np.random.default_rng(0)
    raw = list(rng.integers(0, 256, (40, 4, 4), dtype=np.uint8))
    source = MemorySource(raw, ["often"] * 30 + ["rare"] * 10)
    options = {"height": 4, "width": 4, "channels": 1, "val_fraction": 0, "test_fraction": 0}
    module = ImageDataModule(source, balance="weights", **options)
    module.setup()

    weights = module.class_weights

    assert weights.dtype == torch.float32
    assert torch.allclose(weights, torch.tensor([40 / 60, 2.0]))
    plain = ImageDataModule(source, **options)
    plain.setup()
    assert plain.class_weights is None


def test_oversampling_balances_the_training_batches():
    raw = list(np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8))
    module = ImageDataModule(
        MemorySource(raw, ["often"] * 30 + ["rare"] * 10),
        height=4,
        width=4,
        channels=1,
        balance="oversample",
        batch_size=16,
    )
    module.setup()
    labels = torch.cat([batch["label"] for batch in module.train_dataloader()])
    assert torch.bincount(labels).tolist() == [24, 24]


def test_limit_bounds_the_training_samples_alone():
    module = image_module(limit=8, last_batch="fill")
    module.setup()
    assert module.describe()["samples"] == {"train": 8, "val": 4, "test": 4}
    assert len(module.train_dataloader()) == 1


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"eval_batch_size": 0}, "eval_batch_size"),
        ({"num_workers": -1}, "num_workers"),
        ({"split_seed": -1}, "split_seed"),
        ({"val_fraction": 1.0}, "val_fraction"),
        ({"test_fraction": -0.1}, "test_fraction"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "val_fraction"),
        ({"limit": 0}, "limit"),
        ({"balance": "magic"}, "balance"),
        ({"last_batch": "keep"}, "last_batch"),
        ({"height": 0}, "height"),
        ({"channels": 2}, "channels"),
        ({"resize": "squash"}, "resize"),
        ({"cache_bytes": -1}, "cache_bytes"),
    ],
)
def test_setup_names_the_field_that_cannot_be(options, field):
    source = MemorySource([np.zeros((2, 2), np.uint8)] * 4, ["a", "b"] * 2)
    with pytest.raises(DataError, match=rf"^data\.{field}") as error:
        ImageDataModule(source, **{"height": 2, "width": 2, "channels": 1, **options}).setup()
    assert error.value.field.startswith(f"data.{field}")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_length": 0}, "max_length"),
        ({"max_length": 2}, "max_length"),
        ({"pad_to_multiple_of": 0}, "pad_to_multiple_of"),
        ({"vocab_size": 5}, "vocab_size"),
        ({"min_frequency": 0}, "min_frequency"),
    ],
)
def test_text_setup_names_the_field_that_cannot_be(options, field):
    with pytest.raises(DataError, match=rf"^data\.{field}"):
        text_module(**options).setup()


@pytest.mark.parametrize(("labels", "found"), [([], "0: none"), (["a", "a"], "1: 'a'")])
def test_setup_says_so_when_there_are_fewer_than_two_classes(labels, found):
    raw = [np.full((2, 2), index, np.uint8) for index in range(len(labels))]
    module = ImageDataModule(MemorySource(raw, labels), height=2, width=2, channels=1)
    with pytest.raises(DataError, match=f"needs at least 2 classes with samples, found {found}"):
        module.setup()


def test_training_says_so_when_processes_cannot_share_a_batch_equally():
    module = image_module(batch_size=8)
    module.setup()
    module._place = lambda: (0, 3)
    with pytest.raises(DataError, match=r"data\.batch_size=8 cannot be shared equally by 3"):
        module.train_dataloader()
