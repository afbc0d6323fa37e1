"""What the cache of preprocessed inputs spares: `python benchmarks/input_cache.py`.

One picture of 1920 x 1080 as a JPEG file, made 224 x 224: preprocessed each time (off), looked up
and found (hit), and looked up in vain (miss). Medians of alternating rounds, and their ratios.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

# This file's own folder would offer its serving.py as the package `serving`.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.ways import compare
from bundle.preprocessing.config import ImageConfig
from bundle.preprocessing.image import ImagePreprocessor
from serving.cache import RowCache
from serving.metrics import MetricsCollector

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 40
MODEL = ("model", "1", "fp32")


def photograph() -> bytes:
    """Smooth shapes with some grain, as cameras see them."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (18, 32, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((1920, 1080), Image.Resampling.BICUBIC), np.int16)
    grain = rng.normal(0, 6, smooth.shape).astype(np.int16)
    stream = io.BytesIO()
    Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def main() -> None:
    """Print a line for each way."""
    preprocessor = ImagePreprocessor(ImageConfig(height=224, width=224, channels=3))
    cache = RowCache(64 * 2**20, metrics=MetricsCollector())
    content = photograph()
    cache.row(preprocessor, content, model=MODEL)
    number = 0

    def miss() -> None:
        nonlocal number
        number += 1
        # Bytes after a JPEG's end are overlooked by its decoder, not by a hash.
        cache.row(preprocessor, content + number.to_bytes(4, "big"), model=MODEL)

    ways: dict[str, Callable[[], object]] = {
        "off": lambda: preprocessor(content),
        "miss": miss,
        "hit": lambda: cache.row(preprocessor, content, model=MODEL),
    }
    print(f"JPEG of {len(content) / 1e3:.0f} kB, {ROUNDS} rounds")
    compare(ways, rounds=ROUNDS, base="off")


if __name__ == "__main__":
    main()
