"""Preprocessors: one for all versions that preprocess alike.

A tokenizer's file is parsed with Python's lock held, 40 ms for 30,000 words, in which the process
answers nothing; and what comes of it takes memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from bundle.preprocessing.select import create_preprocessor

if TYPE_CHECKING:
    from pathlib import Path

    from bundle.preprocessing.config import PreprocessingConfig
    from bundle.preprocessing.preprocessor import DataPreprocessor


class Preprocessors:
    """Those of one process, each for as long as a version uses it."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[PreprocessingConfig, DataPreprocessor] = (
            WeakValueDictionary()
        )

    def get(self, config: PreprocessingConfig | None, *, assets: Path) -> DataPreprocessor | None:
        """None for a model without any. A config names its files by their hashes, so `assets` are
        read where it is new. Raises the errors of `create_preprocessor`.
        """
        if config is None:
            return None
        found = self._known.get(config)
        if found is None:
            found = self._known[config] = create_preprocessor(config, assets=assets)
        return found
