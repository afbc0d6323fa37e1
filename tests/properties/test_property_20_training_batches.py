"""Property 20, from the training side: what a model trains on is what serving would compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from bundle.preprocessing.config import PreprocessingConfig
from bundle.preprocessing.select import create_preprocessor
from tests.unit.trainer.data.making import image_module, text_module
from trainer.data.image_module import ImageDataModule
from trainer.data.sources.image_folder import ImageFolderSource

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.data.module import DataModule


def folder(tmp_path: Path, *, cache_bytes: int) -> ImageDataModule:
    from tests.unit.trainer.data.making import write_images

    for start, name in enumerate(("one", "two")):
        write_images(tmp_path / name, count=12, start=start * 100)
    return ImageDataModule(
        ImageFolderSource(str(tmp_path)),
        height=7,
        width=4,
        resize="pad",
        interpolation="bicubic",
        cache_bytes=cache_bytes,
        batch_size=5,
    )


@pytest.mark.parametrize("kind", ["arrays", "cached files", "files", "texts"])
def test_property_20_batches_are_the_serving_preprocessors_own(kind, tmp_path):
    assets = tmp_path / "assets"
    module: DataModule
    if kind == "texts":
        module = text_module(assets_dir=assets, pad_to_multiple_of=4, max_length=9, batch_size=5)
    elif kind == "arrays":
        module = image_module(batch_size=5, augmentation=None)
    else:
        module = folder(tmp_path / "data", cache_bytes=2**20 if kind == "cached files" else 0)
    module.setup()
    # As a bundle carries it: JSON, and the files beside it.
    config = PreprocessingConfig.from_json(module.preprocessor.config.to_json())
    serving = create_preprocessor(config, assets=assets)

    for split, loader in (("val", module.val_dataloader()), ("test", module.test_dataloader())):
        raw = list(module.samples(split).raw)
        place = 0
        for batch in loader:
            size = len(batch["label"])
            expected = serving.collate([serving(sample) for sample in raw[place : place + size]])
            place += size
            assert set(batch) == {*expected, "label"}
            for name, array in expected.items():
                assert array.dtype == batch[name].numpy().dtype
                assert np.array_equal(array, batch[name].numpy())
        assert place == len(raw) > 0
