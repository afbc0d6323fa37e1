"""The tokenizer of a run: learned from its training texts, or a file that is given."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers.decoders import WordPiece as WordPieceDecoder

from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

TOKENIZER_FILE = "tokenizer.json"
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""In the order of their ids, from 0."""


def learn_tokenizer(texts: Iterable[str], *, vocab_size: int, min_frequency: int) -> bytes:
    """A lower-casing BERT tokenizer as the bytes of tokenizer.json; equal texts give equal bytes.

    `vocab_size` bounds the entries in tokens, the five special ones included.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 - a token of text
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = WordPieceDecoder()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    content: str = tokenizer.to_str(pretty=True)
    return content.encode()


def read_tokenizer(path: Path) -> bytes:
    """The content of a tokenizer.json. Raises DataError if it is not one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"the tokenizer {path} cannot be read: {error.strerror or error}",
            field="tokenizer_file",
            remedy="give a tokenizer.json of the `tokenizers` library",
        ) from error
    try:
        Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises plain Exception
        raise DataError(
            f"{path} is not a tokenizer file: {error}",
            field="tokenizer_file",
            remedy="give a tokenizer.json of the `tokenizers` library",
        ) from error
    return content


def write_tokenizer(content: bytes, *, assets_dir: Path) -> None:
    """Put tokenizer.json into `assets_dir`, whole or not at all."""
    assets_dir.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=assets_dir, prefix=f".{TOKENIZER_FILE}.")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(temporary).replace(assets_dir / TOKENIZER_FILE)
