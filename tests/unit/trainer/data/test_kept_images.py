from __future__ import annotations

import logging

import pytest
import torch

from bundle.preprocessing.image import ImagePreprocessor
from tests.unit.trainer.data.making import picture
from trainer.data.image_module import ImageDataModule
from trainer.data.sources.image_folder import ImageFolderSource
from trainer.errors import DataError


@pytest.fixture
def decoded(monkeypatch):
    """How many images were decoded."""
    count = []
    decode = ImagePreprocessor.__call__

    def counting(self, sample):
        count.append(1)
        return decode(self, sample)

    monkeypatch.setattr(ImagePreprocessor, "__call__", counting)
    return count


def module(root, cache_dir, *, on_error="skip", **options) -> ImageDataModule:
    options = {"height": 8, "width": 8, "batch_size": 4, "cache_bytes": 0, **options}
    source = ImageFolderSource(str(root), on_error=on_error)
    return ImageDataModule(source, cache_dir=cache_dir and str(cache_dir), **options)


def batches(made):
    made.setup()
    return list(made.train_dataloader())


def same(one, other):
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a[name], b[name]) for a, b in pairs for name in a)


def test_images_are_decoded_once_for_all_runs_when_there_is_a_folder_for_them(
    image_root, tmp_path, decoded
):
    (image_root / min(p.name for p in image_root.iterdir()) / "bad.png").write_bytes(b"no")
    plain = module(image_root, None)
    expected = batches(plain)
    first = module(image_root, tmp_path / "cache")
    assert same(batches(first), expected)
    number = len(decoded)
    second = module(image_root, tmp_path / "cache", num_workers=2)
    assert same(batches(second), expected)
    assert len(decoded) == number
    assert first.skipped == second.skipped != ()
    assert plain.fingerprint == first.fingerprint == second.fingerprint


def test_images_are_decoded_again_when_a_file_or_the_size_is_another(image_root, tmp_path, decoded):
    batches(module(image_root, tmp_path / "cache"))
    path = next(image_root.rglob("*.png"))
    path.write_bytes(picture(999))
    before = len(decoded)
    batches(module(image_root, tmp_path / "cache"))
    after = len(decoded)
    assert after > before
    batches(module(image_root, tmp_path / "cache", height=6))
    assert len(decoded) > after
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3


@pytest.mark.parametrize("damage", ["flip", "truncate", "note"])
def test_images_are_made_anew_when_what_was_kept_is_damaged(image_root, tmp_path, damage, caplog):
    expected = batches(module(image_root, tmp_path / "cache"))
    (kept,) = (tmp_path / "cache").glob("*.npy")
    content = bytearray(kept.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
    elif damage == "truncate":
        content = content[:-10]
    else:
        kept.with_suffix(".json").write_text("{")
    kept.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert same(batches(module(image_root, tmp_path / "cache")), expected)
    assert "made anew" in caplog.text


def test_nothing_is_kept_when_an_image_is_corrupt_and_that_is_an_error(image_root, tmp_path):
    (next(p for p in image_root.iterdir() if p.is_dir()) / "bad.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"bad\.png"):
        module(image_root, tmp_path / "cache", on_error="fail").setup()
    assert not list((tmp_path / "cache").iterdir())


def test_folder_that_cannot_be_written_to_is_named(image_root, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"data\.cache_dir=.* cannot be written"):
        module(image_root, tmp_path / "cache").setup()
