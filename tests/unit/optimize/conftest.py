from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import BertProcessing
from torch import nn

from bundle.preprocessing.config import ImageConfig, TextConfig
from bundle.preprocessing.image import ImagePreprocessor
from bundle.preprocessing.text import TextPreprocessor
from trainer.models.bert import Bert
from trainer.models.resnet import ResNet

if TYPE_CHECKING:
    from bundle.preprocessing.preprocessor import DataPreprocessor

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "quick", "brown", "fox", "over", "a", "dog"]
MAX_LENGTH = 24


@pytest.fixture(scope="session")
def tokenizer_json() -> bytes:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer.to_str().encode()


@pytest.fixture(scope="session")
def text_preprocessor(tokenizer_json: bytes) -> TextPreprocessor:
    digest = hashlib.sha256(tokenizer_json).hexdigest()
    return TextPreprocessor(
        TextConfig(max_length=MAX_LENGTH, tokenizer_sha256=digest), tokenizer_json
    )


@pytest.fixture(scope="session")
def image_preprocessor() -> ImagePreprocessor:
    return ImagePreprocessor(ImageConfig(height=8, width=8, channels=1))


@pytest.fixture(scope="session")
def image_rows(image_preprocessor):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, size=(5, 8, 8), dtype=np.uint8)
    return [image_preprocessor(array) for array in pixels]


@pytest.fixture(scope="session")
def text_rows(text_preprocessor):
    texts = ["the quick brown fox", "a dog", "jumps over the lazy dog", "fox", "over a fox"]
    return [text_preprocessor(text) for text in texts]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model with what feeds it."""

    model: nn.Module
    rows: list[dict[str, np.ndarray]]
    preprocessor: DataPreprocessor
    max_length: int | None


@pytest.fixture(scope="session")
def image_case(image_rows, image_preprocessor) -> Case:
    torch.manual_seed(0)
    model = ResNet(num_classes=3, channels=1, blocks=[1, 1], widths=[4, 8], small_stem=True)
    for module in model.modules():  # as after training: not the identity
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    return Case(
        model=model.eval(), rows=image_rows, preprocessor=image_preprocessor, max_length=None
    )


@pytest.fixture(scope="session")
def text_case(text_rows, text_preprocessor) -> Case:
    torch.manual_seed(0)
    model = Bert(
        num_classes=3,
        vocabulary_size=len(WORDS),
        pad_id=0,
        max_length=MAX_LENGTH,
        width=16,
        layers=2,
        heads=2,
        feed_forward=32,
        max_positions=MAX_LENGTH,
    )
    return Case(
        model=model.eval(), rows=text_rows, preprocessor=text_preprocessor, max_length=MAX_LENGTH
    )
