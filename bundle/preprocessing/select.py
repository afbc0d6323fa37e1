"""Which preprocessor a config asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bundle.errors import ManifestError, NotFoundError
from bundle.preprocessing.config import ImageConfig, PreprocessingConfig, TextConfig
from bundle.preprocessing.image import ImagePreprocessor
from bundle.preprocessing.text import TextPreprocessor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bundle.preprocessing.preprocessor import DataPreprocessor


def create_preprocessor(
    config: PreprocessingConfig, *, assets: Path | Mapping[str, bytes]
) -> DataPreprocessor:
    """`assets` holds the files that the config names: a folder, or their contents by name."""
    if isinstance(config, ImageConfig):
        return ImagePreprocessor(config)
    if isinstance(config, TextConfig):
        return TextPreprocessor(config, _asset(config.tokenizer, assets))
    raise ManifestError(f"no preprocessor for the kind {config.kind!r}", field="preprocessing.kind")


def _asset(name: str, assets: Path | Mapping[str, bytes]) -> bytes:
    try:
        return (assets / name).read_bytes() if isinstance(assets, Path) else assets[name]
    except (OSError, KeyError) as error:
        where = f" in {assets}" if isinstance(assets, Path) else ""
        raise NotFoundError(f"the file {name} is not there{where}", field="assets") from error
