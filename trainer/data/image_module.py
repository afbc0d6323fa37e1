"""ImageDataModule: images as uint8 tensors of the model's size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bundle.errors import InputError, RequestError
from bundle.preprocessing.config import ImageConfig
from bundle.preprocessing.image import ImagePreprocessor
from trainer.data.content import digest
from trainer.data.dataset import BatchDataset, ImageCache, ImageDataset, ImageReader, ImageStore
from trainer.data.kept_images import KeptImages
from trainer.data.module import DataModule
from trainer.data.options import require
from trainer.data.stand_ins import StandIns
from trainer.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainer.data.augmentation import ImageAugmentation
    from trainer.data.rejects import Rejects
    from trainer.data.samples import Corpus, IntArray, RawSample
    from trainer.data.sources.base import Source
    from trainer.data.splitting import Splits


class ImageDataModule(DataModule):
    """Batches are {"image": uint8 (B, C, H, W), "label": int64 (B,)}.

    Images that fit into `cache_bytes` are decoded once, all of them while setting up. Of more, the
    headers alone are checked then, and each image is decoded whenever it is needed. With a
    `cache_dir` all are decoded once for all runs, however many they are.
    """

    task: ClassVar[str] = "image-classification"

    def __init__(
        self,
        source: Source,
        *,
        height: int,
        width: int,
        channels: int = 3,
        resize: str = "crop",
        interpolation: str = "bilinear",
        max_pixels: int = 50_000_000,
        cache_bytes: int = 2**30,
        cache_dir: str | None = None,
        augmentation: ImageAugmentation | None = None,
        **options: Any,
    ) -> None:
        super().__init__(source, **options)
        self._image = {
            "height": height,
            "width": width,
            "channels": channels,
            "resize": str(resize),
            "interpolation": str(interpolation),
            "max_pixels": max_pixels,
        }
        self._cache_bytes = cache_bytes
        self._cache_dir = Path(cache_dir).expanduser() if cache_dir else None
        self._augmentation = augmentation
        self._preprocessor: ImagePreprocessor | None = None
        self._cache: NDArray[np.uint8] | None = None
        self._store: ImageStore | None = None

    @property
    def preprocessor(self) -> ImagePreprocessor:
        if self._preprocessor is None:
            raise RuntimeError("setup() has not run")
        return self._preprocessor

    def _begin(self, corpus: Corpus) -> None:
        require(self._cache_bytes >= 0, "cache_bytes", self._cache_bytes, "0 or more")
        if self._augmentation is not None:
            self._augmentation.check()
        try:
            config = ImageConfig(**self._image)  # type: ignore[arg-type]  # checked by ImageConfig
        except RequestError as error:
            raise DataError(f"data.{error}", field=f"data.{error.field}") from error
        self._preprocessor = ImagePreprocessor(config)
        shape = self._shape(corpus)
        if self._cache_dir is None and np.prod(shape, dtype=np.int64) <= self._cache_bytes:
            self._cache = np.zeros(shape, dtype=np.uint8)  # (N, C, H, W)

    def _shape(self, corpus: Corpus) -> tuple[int, ...]:
        config = self.preprocessor.config
        return (len(corpus), config.channels, config.height, config.width)

    def _scan(self, corpus: Corpus, rejects: Rejects) -> tuple[list[bytes], IntArray]:
        """As ever, but what was decoded before is not decoded again."""
        if self._cache_dir is None:
            return super()._scan(corpus, rejects)
        digests, rejected = _read_digests(corpus)
        recipe = self.preprocessor.config.to_dict()
        kept = KeptImages(self._cache_dir, digests=digests, recipe=recipe)
        found = kept.load()
        if found is not None:
            self._cache, rejected = found
            for index, reason in sorted(rejected.items()):
                rejects.add(corpus.names[index], reason)
        else:
            with kept.making(self._shape(corpus), rejected) as images:
                for index in range(len(corpus)):
                    try:
                        if index not in rejected:
                            images[index] = self.preprocessor(corpus.raw[index])["image"]
                    except (InputError, OSError) as error:
                        rejected[index] = str(error)
                    if index in rejected:
                        rejects.add(corpus.names[index], rejected[index])
            self._cache = images
        usable = [index for index in range(len(corpus)) if index not in rejected]
        return digests, np.asarray(usable, dtype=np.int64)

    def _inspect(self, index: int, sample: RawSample) -> None:
        if self._cache is not None:
            self._cache[index] = self.preprocessor(sample)["image"]
        elif isinstance(sample, bytes):
            self.preprocessor.check_header(sample)

    def _finish(self, corpus: Corpus, splits: Splits, rejects: Rejects) -> Splits:
        del rejects  # what can be found out is known by now
        if self._cache is not None:
            self._store = ImageCache(self._cache)
        else:
            self._store = ImageReader(
                corpus.raw,
                names=corpus.names,
                shape=self._shape(corpus)[1:],
                preprocessor=self.preprocessor,
                where=self._source.where,
                on_error=self._source.on_error,
            )
        return splits

    def _dataset(self, indices: IntArray, *, training: bool) -> BatchDataset:
        if self._store is None:
            raise RuntimeError("setup() has not run")
        labels = self.prepared.corpus.labels
        return ImageDataset(
            indices,
            labels,
            store=self._store,
            stand_ins=StandIns(indices, labels) if training else None,
            augmentation=self._augmentation if training else None,
            seed=self._seed,
        )


def _read_digests(corpus: Corpus) -> tuple[list[bytes], dict[int, str]]:
    """Of every sample, empty where it cannot be read; and why, by position."""
    digests: list[bytes] = []
    rejected: dict[int, str] = {}
    for index in range(len(corpus)):
        content = b""
        try:
            content = digest(corpus.raw[index])
        except OSError as error:
            rejected[index] = str(error)
        digests.append(content)
    return digests, rejected
