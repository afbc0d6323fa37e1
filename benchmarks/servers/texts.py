"""Texts of known lengths in tokens, out of words that are one token each."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from bundle.preprocessing.config import TextConfig
from bundle.preprocessing.text import TextPreprocessor

if TYPE_CHECKING:
    from collections.abc import Sequence

_LINE = (
    "the line from a model to an answer has no gaps at all and every word of this text is one "
    "that most people know so it can be read with ease by day or night in any town of the world"
)
WORDS = _LINE.split()
SPECIAL = 2
"""Tokens that begin and end a text."""
LONGEST = 128


def text_preprocessor(tokenizer: bytes) -> TextPreprocessor:
    """What makes tensors of texts; `tokenizer`: the content of its file."""
    digest = hashlib.sha256(tokenizer).hexdigest()
    return TextPreprocessor(TextConfig(max_length=LONGEST, tokenizer_sha256=digest), tokenizer)


def lengths(count: int, *, seed: int = 0) -> list[int]:
    """Lognormal, about 31 tokens on average, 3 to 128."""
    drawn = np.random.default_rng(seed).lognormal(3.16, 0.75, count)
    return [int(length) for length in np.clip(drawn.round(), 3, LONGEST)]


def texts(wanted: Sequence[int], *, seed: int = 0) -> list[str]:
    """One text for each length, special tokens included."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, length - SPECIAL)) for length in wanted]
