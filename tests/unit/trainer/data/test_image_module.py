from __future__ import annotations

import logging
import os

import numpy as np
import pytest
import torch

from tests.unit.trainer.data.making import MemorySource, picture
from trainer.data.image_module import ImageDataModule
from trainer.data.samples import UNREADABLE
from trainer.data.sources.image_folder import ImageFolderSource
from trainer.errors import DataError


def folder_module(root, *, on_error="fail", **options) -> ImageDataModule:
    source = ImageFolderSource(str(root), on_error=on_error)
    return ImageDataModule(source, **{"height": 4, "width": 4, "batch_size": 4, **options})


def everything(module) -> dict[str, torch.Tensor]:
    batches = list(module.val_dataloader()) + list(module.test_dataloader())
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def test_images_are_the_same_cached_and_read_when_needed(image_root):
    modules = [folder_module(image_root), folder_module(image_root, cache_bytes=0)]
    for module in modules:
        module.setup()
    cached, read = (everything(module) for module in modules)
    assert torch.equal(cached["image"], read["image"])
    assert torch.equal(cached["label"], read["label"])
    assert modules[0].fingerprint == modules[1].fingerprint
    train = [next(iter(module.train_dataloader())) for module in modules]
    assert torch.equal(train[0]["image"], train[1]["image"])


def test_batches_are_uint8_images_and_int64_labels(image_root):
    module = folder_module(image_root, channels=1)
    module.setup()
    batch = next(iter(module.train_dataloader()))
    assert batch["image"].shape == (4, 1, 4, 4)
    assert batch["image"].dtype == torch.uint8
    assert batch["label"].dtype == torch.int64


def test_images_of_any_format_and_size_become_one_size(tmp_path):
    formats = ["png", "jpeg", "bmp", "gif", "webp", "tiff"]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number, suffix in enumerate(formats):
            data = picture(number + 10 * (name == "b"), size=(1 + 7 * number, 40), suffix=suffix)
            (tmp_path / name / f"{number}.{suffix}").write_bytes(data)
    module = folder_module(tmp_path, height=5, width=9)
    module.setup()
    assert next(iter(module.train_dataloader()))["image"].shape == (4, 3, 5, 9)


@pytest.mark.parametrize("cache_bytes", [2**20, 0])
@pytest.mark.parametrize("content", [b"", b"not an image", picture(0)[:20]])
def test_setup_names_the_file_when_an_image_is_corrupt(image_root, content, cache_bytes):
    (image_root / "Katze" / "kaputt.png").write_bytes(content)
    module = folder_module(image_root, cache_bytes=cache_bytes)
    with pytest.raises(DataError, match=r"Katze/kaputt\.png: ") as error:
        module.setup()
    assert "data.on_error=skip" in error.value.remedy


@pytest.mark.parametrize("cache_bytes", [2**20, 0])
def test_setup_skips_and_reports_corrupt_images_when_asked_to(image_root, caplog, cache_bytes):
    (image_root / "Katze" / "kaputt.png").write_bytes(b"not an image")
    module = folder_module(image_root, on_error="skip", cache_bytes=cache_bytes)

    with caplog.at_level(logging.WARNING):
        module.setup()

    assert len(module.skipped) == 1
    assert module.skipped[0].startswith("Katze/kaputt.png: ")
    assert module.describe()["skipped"] == 1
    assert sum(module.describe()["samples"].values()) == 16
    assert "1 of 17 samples cannot be used and were skipped" in caplog.text


@pytest.mark.parametrize("num_workers", [0, 2])
def test_truncated_image_fails_when_it_is_read(image_root, num_workers):
    """Its header is whole: without a cache only decoding can tell."""
    (image_root / "Katze" / "halb.png").write_bytes(picture(77, size=(30, 30))[:900])
    module = folder_module(
        image_root,
        cache_bytes=0,
        val_fraction=0,
        test_fraction=0,
        batch_size=17,
        num_workers=num_workers,
    )
    module.setup()
    with pytest.raises(DataError, match=r"Katze/halb\.png: image cannot be decoded") as error:
        list(module.train_dataloader())
    assert "Traceback" not in str(error.value)
    assert "data.on_error=skip" in error.value.remedy


def truncated(root, number=77) -> None:
    (root / "Katze" / "halb.png").write_bytes(picture(number, size=(30, 30))[:900])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_another_of_its_class_is_trained_on_when_a_truncated_image_is_to_be_skipped(
    image_root, caplog, num_workers
):
    truncated(image_root)
    module = folder_module(
        image_root,
        cache_bytes=0,
        val_fraction=0,
        test_fraction=0,
        batch_size=17,
        num_workers=num_workers,
        on_error="skip",
    )
    module.setup()

    (batch,) = module.train_dataloader()

    assert torch.bincount(batch["label"]).tolist() == [9, 8]
    assert len(torch.unique(batch["image"], dim=0)) == 16
    if not num_workers:
        assert "1 of 17 samples cannot be used and were skipped: Katze/halb.png" in caplog.text


def test_training_goes_on_in_the_middle_of_an_epoch_with_the_same_stand_ins(image_root):
    truncated(image_root)
    options = {"cache_bytes": 0, "on_error": "skip", "val_fraction": 0, "test_fraction": 0}
    module = folder_module(image_root, **options)
    module.setup()
    whole = list(module.train_dataloader())
    loader = module.train_dataloader()
    loader.load_state_dict({"epoch": 0, "batch": 1})
    for one, other in zip(loader, whole[1:], strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["label"], other["label"])


def test_unreadable_images_are_marked_when_they_are_evaluated(image_root):
    module = folder_module(image_root, cache_bytes=0, on_error="skip", batch_size=1)
    module.setup()
    before = list(module.val_dataloader())
    name = module.prepared.corpus.names[module.splits.val[0]]
    (image_root / name).unlink()
    after = list(module.val_dataloader())
    assert len(after) == len(before) > 1
    assert after[0]["label"].tolist() == [UNREADABLE]
    assert not after[0]["image"].any()
    assert after[0]["image"].shape == before[0]["image"].shape
    for one, other in zip(after[1:], before[1:], strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["label"], other["label"])


def test_training_ends_when_not_one_image_can_be_read(image_root):
    module = folder_module(image_root, cache_bytes=0, on_error="skip")
    module.setup()
    for path in image_root.rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match="not one image of the split can be read: "):
        list(module.train_dataloader())


def test_class_whose_name_is_no_text_is_refused(image_root):
    (image_root / "Katze").rename(os.fsdecode(os.fsencode(image_root) + b"/K\xe4tze"))
    with pytest.raises(DataError, match=r"the class 'K\\udce4tze' is no text"):
        folder_module(image_root).setup()


def test_class_that_is_left_with_nothing_is_an_error_even_when_skipping(image_root):
    for path in (image_root / "Katze").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(DataError, match="found 1: '犬'"):
        folder_module(image_root, on_error="skip").setup()


@pytest.mark.parametrize("cache_bytes", [2**20, 0])
def test_image_with_too_many_pixels_counts_as_unreadable(image_root, cache_bytes):
    with pytest.raises(DataError, match=r"Katze/0\.png: image is too large"):
        folder_module(image_root, max_pixels=29, cache_bytes=cache_bytes).setup()


def test_given_splits_of_a_folder_are_kept(tmp_path, image_root):
    for split in ("train", "val", "test"):
        (tmp_path / "whole" / split).mkdir(parents=True)
        for name in ("Katze", "犬"):
            (tmp_path / "whole" / split / name).mkdir()
    for number, split in enumerate(("train", "train", "val", "test")):
        for name in ("Katze", "犬"):
            source = sorted((image_root / name).iterdir())[number]
            target = tmp_path / "whole" / split / name / source.name
            target.write_bytes(source.read_bytes())

    module = folder_module(tmp_path / "whole")
    module.setup()

    assert module.describe()["samples"] == {"train": 4, "val": 2, "test": 2}


def test_arrays_of_any_size_are_taken():
    rng = np.random.default_rng(0)
    raw = [rng.integers(0, 256, (index + 1, 3), dtype=np.uint8) for index in range(12)]
    module = ImageDataModule(
        MemorySource(raw, ["a", "b"] * 6), height=4, width=4, channels=1, batch_size=2
    )
    module.setup()
    assert next(iter(module.train_dataloader()))["image"].shape == (2, 1, 4, 4)
